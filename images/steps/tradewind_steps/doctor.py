"""``python -m tradewind_steps.doctor``: what a pod of this image reaches and may do, for ``tradewind doctor --pods``.

The answer is the container's termination message, one JSON object: Kubernetes keeps it with the pod's status.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import tradewind
from tradewind.contract import PROBE_VARIABLE
from tradewind.store import Store, hash_file, hash_names

MESSAGE = "/dev/termination-log"  # Kubernetes' own name for it
_LONGEST = 1000  # characters of one error: the message holds 4,096 bytes


def main() -> None:
    asked = json.loads(os.environ[PROBE_VARIABLE])
    wrote = uuid.uuid4().hex
    found = {
        "tradewind": tradewind.__version__,
        "python": platform.python_version(),
        "code": code(asked["files"]),
        "wrote": wrote,
        "store": store(asked["folder"], wrote),
        "mlflow": mlflow(asked["tracking_uri"], asked["limit_s"]),
    }
    Path(asked.get("message", MESSAGE)).write_text(json.dumps(found))


def code(files: list[str]) -> str:
    """The hash of the named files of ``tradewind_steps`` and ``tradewind``, as `tradewind.packaging.own_code` makes it."""
    folders = {True: Path(tradewind.__file__).parents[1], False: Path(__file__).parent}
    paths = {name: folders[name.startswith("tradewind/")] / name for name in files}
    return hash_names([(name, hash_file(path) if path.is_file() else "missing") for name, path in paths.items()])


def store(folder: str, text: str) -> str:
    """Read what is there, write something else; why that failed, or nothing."""
    try:
        place = Store(folder)
        place.read(f"{folder}/ours")
        place.write(f"{folder}/theirs", text.encode())
    except Exception as error:  # any library's: it is told, not handled
        return f"{type(error).__name__}: {error}"[:_LONGEST]
    return ""


def mlflow(tracking_uri: str, limit_s: float) -> str:
    """Ask MLflow for an experiment, with the login that steps have; why that failed, or nothing."""
    body: dict[str, Any] = {"max_results": 1}
    request = urllib.request.Request(  # noqa: S310 (the settings' own address)
        f"{tracking_uri}/api/2.0/mlflow/experiments/search",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **_login()},
    )
    try:
        with urllib.request.urlopen(request, timeout=limit_s) as answer:  # noqa: S310
            json.load(answer)
    except urllib.error.HTTPError as error:
        return f"{tracking_uri} answers {error.code}: {error.read(300).decode(errors='replace')}"[:_LONGEST]
    except (OSError, ValueError) as error:
        return f"{tracking_uri} does not answer: {error}"[:_LONGEST]
    return ""


def _login() -> dict[str, str]:
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if not user:
        return {}
    pair = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


if __name__ == "__main__":
    main()
