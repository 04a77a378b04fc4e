"""MLflow's runtime of MLServer, which also counts its answers: a version's answers to live requests, beside those of the
version that serves, show a drift that no error and no latency shows.
"""

from __future__ import annotations

import math
from collections import Counter

from mlserver.handlers import custom_handler
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver_mlflow import MLflowRuntime

from tradewind_steps.serve.faults import Fault

# What Envoy adds to each request that it forwards or mirrors. Who asks a version past the split, to compare it, is not counted.
_FORWARDED = "x-request-id"
_WIDTH = 0.05  # of a bin: absolute around 0, relative for large numbers


class Runtime(MLflowRuntime):  # type: ignore[misc]
    """Answers as the model does; ``parameters.extra.fault`` makes it a bad version, for drills."""

    async def load(self) -> bool:
        extra = (self.settings.parameters and self.settings.parameters.extra) or {}
        self._fault = Fault.named(extra.get("fault"))
        self._counts: Counter[int] = Counter()
        return bool(await super().load())

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        headers = (payload.parameters and payload.parameters.headers) or {}
        live = _FORWARDED in headers
        if live:
            await self._fault.before()
        response = await super().predict(payload)
        if live:
            self._fault.after(response)
            self._count(response)
        return response

    @custom_handler(rest_path="/tradewind/answers", rest_method="GET")  # type: ignore[untyped-decorator]
    async def answers(self) -> dict[str, int]:
        """How often a row was answered with which number: the lower bound of a bin to its count. Of several outputs a row, a
        probability for each class, it is the last class's."""
        return {f"{math.sinh(number * _WIDTH):.6g}": count for number, count in self._counts.items()}

    def _count(self, response: InferenceResponse) -> None:
        if not response.outputs:
            return
        tensor = response.outputs[0]
        width = math.prod(tensor.shape[1:]) or 1
        for value in list(tensor.data)[width - 1 :: width]:
            if isinstance(value, (int, float)) and math.isfinite(value):
                self._counts[math.floor(math.asinh(value) / _WIDTH)] += 1
