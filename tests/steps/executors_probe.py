"""Watches executors' pods at the Kubernetes API whose address it is given; prints what the step's log would have.

Runs in the data environment.

Usage: ``python executors_probe.py URL FOLDER``; the token is in ``FOLDER/token``, logs go to ``FOLDER/executors``.
"""

import logging
import sys
from pathlib import Path

from tradewind.store import Store
from tradewind_steps.features.pods import Pods
from tradewind_steps.features.watch import Watch


def main(url: str, folder: Path) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    pods = Pods("here", server=url, account=folder)
    watch = Watch(pods, "spark-role=executor", store=Store(str(folder)), logs_uri=f"{folder.as_uri()}/executors")
    with watch.running():
        pass


main(sys.argv[1], Path(sys.argv[2]))
