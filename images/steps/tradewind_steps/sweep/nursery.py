"""``python -m tradewind_steps.sweep.nursery``: where a sweep's trials are born. It reads data and code once; each trial is then
a fork of it, which costs milliseconds, begins as a training of its own would (equal chance, clean modules) and may die.

It has one thread and has run nothing that starts others, or a fork could hang. Standard input brings a line of JSON an order:
first what to learn from, then ``{"do": "learn", "trial": 3, ...}``, ``{"do": "keep", "trial": 3}``, ``{"do": "drop", ...}``; its
end ends all. A trial that has learned waits with its model in memory, to be kept or dropped. Events go to standard output.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from tradewind.contract import StepSpec
from tradewind_steps import device as devices
from tradewind_steps.step import Step
from tradewind_steps.sweep.family import Family, Voice, described

KEEP = b"k"
log = logging.getLogger("tradewind")


class Nursery:
    """The trials that are alive, and the pipes that lead to them."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._children: dict[int, tuple[int, int]] = {}  # pid -> trial, pipe

    def obey(self, order: dict[str, Any]) -> None:
        if order["do"] == "learn":
            self._bear(order)
            return
        for pid, (trial, mouth) in self._children.items():
            if trial == order["trial"] and order["do"] == "drop":
                os.kill(pid, signal.SIGKILL)
            elif trial == order["trial"]:
                with contextlib.suppress(BrokenPipeError):  # it has just died, which is news of its own
                    os.write(mouth, KEEP)

    def bury(self) -> None:
        """Say of each child that has ended how it did."""
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                trial, mouth = self._children.pop(pid)
                os.close(mouth)
                self._family.voice.say("ended", trial=trial, code=os.waitstatus_to_exitcode(status))

    def end(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)

    def _bear(self, order: dict[str, Any]) -> None:
        ear, mouth = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(mouth)
            for _, other in self._children.values():
                os.close(other)
            _live(order, self._family, ear)
        os.close(ear)
        self._children[pid] = (order["trial"], mouth)


def main() -> int:
    voice = Voice.of_stdout()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    first, *_ = _lines(b"")
    try:
        family = _prepared(json.loads(first), voice)
    except Exception as error:
        # It travels as data to the step, which raises it.
        voice.say("broken", error=described(error))
        return 1
    gc.collect()
    gc.freeze()  # what is here stays: a trial need not copy it to look at it
    sys.stdout.flush()
    nursery = Nursery(family)
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    voice.say("ready", task=family.data.dataset.task)
    rest = b""
    while True:
        readable, _, _ = select.select([0, woken], [], [])
        if woken in readable:
            os.read(woken, 4096)
            nursery.bury()
        if 0 in readable:
            *lines, rest = _lines(rest)
            if not lines and not rest:
                nursery.end()
                return 0
            for line in lines:
                nursery.obey(json.loads(line))


def _lines(rest: bytes) -> list[bytes]:
    """What has come: whole lines, then what there is of the next one; nothing and nothing at the end."""
    data = os.read(0, 1 << 20)
    return (rest + data).split(b"\n") if data else [b""]


def _prepared(order: dict[str, Any], voice: Voice) -> Family:
    devices.limit_threads({"cpu": order["threads"]})
    from tradewind_steps.train.prepare import prepare

    step = Step(StepSpec.from_json(order["spec"]), Path(order["scratch"]))
    data = prepare(step)
    function = step.user_function()
    # Once, not in each trial.
    import sklearn.metrics  # noqa: F401

    import tradewind_steps.sweep.member
    import tradewind_steps.train.learn  # noqa: F401

    if order["judged"]:
        import optuna  # noqa: F401
    return Family(step=step, data=data, function=function, folder=Path(order["folder"]), device=order["device"], voice=voice)


def _live(order: dict[str, Any], family: Family, ear: int) -> NoReturn:
    """The trial's own process, to its end."""
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        from tradewind_steps.sweep import member

        code = member.live(order, family, lambda: os.read(ear, 1) == KEEP)
    except BaseException:
        log.error("%s", traceback.format_exc())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
