"""MLflow's runtime of MLServer, which also counts its answers, see `tradewind_steps.serve.answers`."""

from __future__ import annotations

import asyncio

from mlserver.handlers import custom_handler
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver_mlflow import MLflowRuntime

from tradewind_steps.serve.answers import FORWARDED, Answers
from tradewind_steps.serve.faults import Fault


class Runtime(MLflowRuntime):  # type: ignore[misc]
    """Answers as the model does; ``parameters.extra.fault`` makes it a bad version, for drills."""

    async def load(self) -> bool:
        extra = (self.settings.parameters and self.settings.parameters.extra) or {}
        self._fault = Fault.named(extra.get("fault"))
        self._answers = Answers()
        return bool(await super().load())

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        headers = (payload.parameters and payload.parameters.headers) or {}
        live = FORWARDED in headers
        if live:
            await asyncio.sleep(self._fault.before())
        response = await super().predict(payload)
        if live:
            for tensor in response.outputs:
                tensor.data.root = self._fault.after(list(tensor.data), tensor.shape)
            for tensor in response.outputs[:1]:
                self._answers.count(list(tensor.data), tensor.shape)
        return response

    @custom_handler(rest_path="/tradewind/answers", rest_method="GET")  # type: ignore[untyped-decorator]
    async def answers(self) -> dict[str, int]:
        return self._answers.bins()
