"""``python -m benchmarks.waiting_process KIND NAMESPACE SECONDS WAITED POD...``: as many triggers in one event loop as pods.

What a triggerer is but for its database. The pods have waited for so many seconds. After a start-up of ``SECONDS`` it prints
what as many more cost: CPU seconds a second, and the most memory that it had, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any


def trigger(kind: str, namespace: str, name: str, waited: float) -> Any:
    from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger

    from tradewind.runtimes.kubernetes.trigger import StepPodTrigger

    of_kind = {"ours": StepPodTrigger, "bare": KubernetesPodTrigger}[kind]
    return of_kind(
        pod_name=name, pod_namespace=namespace, base_container_name="step", schedule_timeout=36000, startup_timeout=36000,
        trigger_start_time=datetime.now(UTC) - timedelta(seconds=waited),
    )  # fmt: skip


async def run(kind: str, namespace: str, seconds: float, waited: float, names: list[str]) -> dict[str, float]:
    async def follow(name: str) -> None:
        async for event in trigger(kind, namespace, name, waited).run():
            raise AssertionError(f"{name} was to wait: {event}")

    tasks = [asyncio.create_task(follow(name)) for name in names]
    await asyncio.sleep(seconds)
    started, before = time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    wall, used = time.monotonic() - started, time.process_time() - before
    ended = [task for task in tasks if task.done()]
    for task in ended:
        task.result()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cores": used / wall, "memory_mb": most, "late_s": wall - seconds}


if __name__ == "__main__":
    of, where, span, before, *pods = sys.argv[1:]
    print("FOUND", json.dumps(asyncio.run(run(of, where, float(span), float(before), pods))), flush=True)
