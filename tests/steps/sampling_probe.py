"""Searches on a function that costs nothing, as JSON; in the train environment.

``python sampling_probe.py JSON``: a list of searches; of each what it tried, in order, and the highest value it found. The
function is highest at rate 0.1, kind "b", layers 3.
"""

import json
import math
import sys

from tradewind.sweep.best import parse_best
from tradewind.sweep.study import COMPLETE, FAILED, Search, Trial
from tradewind_steps.sweep.sampling import propose


def value(point):
    return -((math.log10(point["rate"]) + 1) ** 2) - abs(point["layers"] - 3) / 5 + (point["kind"] == "b")


found = []
for given in json.loads(sys.argv[1]):
    search, best, known = Search.of(**given), parse_best("auc", []), []
    for numbers in search.batches():
        for number, point in zip(numbers, propose(search, best, known, numbers), strict=True):
            failed = point["layers"] == 5
            metrics = {} if failed else {"auc": value(point)}
            known.append(Trial(number=number, params=point, state=FAILED if failed else COMPLETE, metrics=metrics))
    highest = max(trial.metrics["auc"] for trial in known if trial.state == COMPLETE)
    found.append({"points": [trial.params for trial in known], "highest": highest})
print(json.dumps(found))
