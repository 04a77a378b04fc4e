"""Run a command that ends with the process that started it, even if that is killed.

A script of its own, run by a bare interpreter: it asks the kernel for the signal, then becomes the command, so nothing
stands between the supervisor and its server. Only Linux knows such a signal; elsewhere the next supervisor ends what a
killed one left, by process id and start time.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("The supervisor ended before its server began")
    os.execv(command[0], command)  # noqa: S606


main()
