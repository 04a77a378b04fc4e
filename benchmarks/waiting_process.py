"""``python -m benchmarks.waiting_process KIND NAMESPACE SECONDS WAITED POD...``: as many triggers in one event loop as pods.

What a triggerer is but for its database. The pods have waited for so many seconds. After a start-up of ``SECONDS`` it prints
what as many more cost; then somebody lets the pods start, and it prints what it cost until each trigger had its event. Both as
JSON: CPU seconds a second, the most memory that the process had, seconds.
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


class Meter:
    """What the process used since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def say(self, what: str) -> None:
        wall, used = time.monotonic() - self._wall, time.process_time() - self._cpu
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(what, json.dumps({"cores": used / wall, "memory_mb": most, "seconds": wall}), flush=True)


async def run(kind: str, namespace: str, seconds: float, waited: float, names: list[str]) -> None:
    async def follow(name: str) -> None:
        async for event in trigger(kind, namespace, name, waited).run():
            assert event.payload["status"] in ("ended", "success"), f"{name}: {event}"

    tasks = [asyncio.create_task(follow(name)) for name in names]
    await asyncio.sleep(seconds)
    meter = Meter()
    await asyncio.sleep(seconds)
    for task in tasks:
        assert not task.done(), f"a pod was to wait: {task}"
    meter.say("WAITED")
    meter = Meter()
    await asyncio.gather(*tasks)
    meter.say("STARTED")


if __name__ == "__main__":
    of, where, span, before, *pods = sys.argv[1:]
    asyncio.run(run(of, where, float(span), float(before), pods))
