"""Reuse: the key under which a step's result may be taken again.

The key covers all that determines the result and nothing else: never the run, the try or the resources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tradewind.contract import SCHEMA, ArtifactRef, digest


def fingerprint(
    *,
    step: str,
    code: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, ArtifactRef],
    as_of: str | None,
    environment: str,
    device: str,
) -> str:
    """The cache key of one step, 64 hex digits.

    Args:
        code: hash of the user's code that the step uses and of the code that runs every step.
        params: the operator's own named arguments, rendered.
        inputs: only their content hashes count, not where they lie.
        environment: what the runtime says distinguishes one environment from another.
        device: the kind, ``cpu`` or ``gpu``; not the amount.
    """
    return digest(
        {
            "schema": SCHEMA,
            "step": step,
            "code": code,
            "params": dict(params),
            "inputs": {name: ref.sha256 for name, ref in inputs.items()},
            "as_of": as_of,
            "environment": environment,
            "device": device,
        }
    )
