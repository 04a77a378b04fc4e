"""What is wrong with a request that a model could not answer, in words for whoever sent it.

MLServer answers ``500 Internal Server Error`` and no more where a model raises, whether the model is broken or the request lacks
a column. Only what breaks the model's own signature for certain is called the client's mistake: the errors of a broken model
must stay errors, which take a canary back.
"""

from __future__ import annotations

from collections.abc import Sequence

Tensor = tuple[str, str, Sequence[int]]  # name, datatype, shape


def misfit(expected: Sequence[Tensor], got: Sequence[Tensor]) -> str:
    """How a request differs from the signature; empty where it does not for certain.

    Args:
        expected: the model's inputs; without any nothing is known.
        got: the request's.
    """
    there = {name: (datatype, shape) for name, datatype, shape in got}
    known = {name: datatype for name, datatype, _ in expected}
    if missing := [name for name in known if name not in there]:
        unknown = [name for name in there if name not in known]
        return f"expected {len(known)} inputs, one for each column; missing: {_listed(missing)}" + (
            f"; not of this model: {_listed(unknown)}" if unknown else ""
        )
    for name, datatype in known.items():
        if (datatype == "BYTES") != (there[name][0] == "BYTES"):
            return f"input {name}: expected datatype {datatype}, got {there[name][0]}"
    rows = {there[name][1][0] if there[name][1] else 0 for name in known}
    if len(rows) > 1:
        return f"expected as many rows in each input, got {', '.join(str(count) for count in sorted(rows))}"
    return ""


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
