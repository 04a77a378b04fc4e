"""MLflow's runtime of MLServer, which also names the classes and counts its answers, see `tradewind_steps.serve.answers`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from mlserver.errors import MLServerError
from mlserver.handlers import custom_handler
from mlserver.types import InferenceRequest, InferenceResponse, Parameters
from mlserver_mlflow import MLflowRuntime

from tradewind_steps.serve.answers import FORWARDED, Answers
from tradewind_steps.serve.faults import Fault
from tradewind_steps.serve.misfit import misfit
from tradewind_steps.train import CARD


class Runtime(MLflowRuntime):  # type: ignore[misc]
    """Answers as the model does; ``parameters.extra.fault`` makes it a bad version, for drills."""

    async def load(self) -> bool:
        parameters = self.settings.parameters
        extra = (parameters and parameters.extra) or {}
        self._fault = Fault.named(extra.get("fault"))
        self._answers = Answers()
        self._classes = _classes(Path((parameters and parameters.uri) or ""))
        return bool(await super().load())

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        headers = (payload.parameters and payload.parameters.headers) or {}
        live = FORWARDED in headers
        if live:
            await asyncio.sleep(self._fault.before())
        response = await self._predicted(payload)
        if live:
            for tensor in response.outputs:
                tensor.data.root = self._fault.after(list(tensor.data), tensor.shape)
            for tensor in response.outputs[:1]:
                self._answers.count(list(tensor.data), tensor.shape)
        for tensor in response.outputs:
            if self._classes and list(tensor.shape[1:]) == [len(self._classes)]:
                known = tensor.parameters.model_dump(exclude_none=True) if tensor.parameters else {}
                tensor.parameters = Parameters(**{**known, "names": self._classes})
        return response

    async def _predicted(self, payload: InferenceRequest) -> InferenceResponse:
        try:
            return await super().predict(payload)
        except MLServerError:
            raise
        except Exception as error:
            expected, got = ([(tensor.name, str(tensor.datatype), tensor.shape) for tensor in tensors or []]
                             for tensors in (self.inputs, payload.inputs))  # fmt: skip
            if said := misfit(expected, got):
                raise MLServerError(f"{said}. A GET of the model's address, without /infer, has its inputs") from error
            raise

    @custom_handler(rest_path="/tradewind/answers", rest_method="GET")  # type: ignore[untyped-decorator]
    async def answers(self) -> dict[str, int]:
        return self._answers.bins()


def _classes(model: Path) -> list[Any]:
    """The names of the columns of its answers, as its training wrote them down; empty of a regression."""
    with contextlib.suppress(OSError):
        found: list[Any] = json.loads((model / CARD).read_text()).get("classes") or []
        return found
    return []
