"""Breaks XGBoost's training after some checkpoints and goes on, beside an unbroken one; in the train environment.

``python boosting_probe.py FOLDER``: the last line is a JSON list, for each case what was unlike the unbroken one.
"""

import json
import sys
from pathlib import Path

import numpy as np
import xgboost

from tradewind.store import Store
from tradewind_steps.checkpoint import Checkpoint

folder = Path(sys.argv[1])
chance = np.random.default_rng(0)
X = chance.normal(size=(2500, 6))
y = (X[:, 0] + X[:, 1] * X[:, 2] + chance.normal(size=2500) > 0).astype(int)
FIT = {"X": X[:2000], "y": y[:2000], "eval_set": [(X[2000:], y[2000:])], "verbose": 50}
KNOBS = {"max_depth": 4, "learning_rate": 0.15, "eval_metric": ["auc", "logloss"], "random_state": 0, "n_jobs": 1}


class BrokenOffError(Exception):
    pass


class Breaking(Checkpoint):
    """Ends the training after so many checkpoints."""

    left = 0

    def saved(self) -> None:
        super().saved()
        self.left -= 1
        if self.left == 0:
            raise BrokenOffError


def checkpoint(case: str, number: int, breaks_after: int) -> Breaking:
    found = Breaking(folder / f"{case}{number}" / "checkpoint", store=Store(str(folder / case)), key="e" * 64, writer=str(number))
    found.left = breaks_after
    return found


def case(name: str, breaks: list[int], **knobs) -> dict:
    def model():
        given = {**KNOBS, **knobs}
        if "stop" in given:
            given["callbacks"] = [xgboost.callback.EarlyStopping(**given.pop("stop"))]
        return xgboost.XGBClassifier(**given)

    whole, broken = model().fit(**FIT), 0
    for number, after in enumerate([*breaks, 0]):
        ours, saved = model(), checkpoint(name, number, after)
        resumed = saved.resumed_from is not None
        try:
            saved.fit(ours, **FIT)
        except BrokenOffError:
            broken += 1
    last = ours.get_booster()
    return {
        "name": name,
        "broken": [broken, len(breaks)],
        "resumed": resumed,
        "rounds": [whole.get_booster().num_boosted_rounds(), last.num_boosted_rounds()],
        "equal": bool(np.array_equal(whole.predict_proba(X), ours.predict_proba(X))),
        "trees": whole.get_booster().get_dump() == last.get_dump(),
        "curve": whole.evals_result() == ours.evals_result(),
        "best": [getattr(model, "best_iteration", None) for model in (whole, ours)],
        "as_given": (ours.n_estimators, ours.early_stopping_rounds) == (whole.n_estimators, whole.early_stopping_rounds),
    }


print(
    json.dumps(
        [
            case("plain", [1, 2], n_estimators=130),
            case("patience", [2], n_estimators=1000, early_stopping_rounds=25),
            case("best_only", [1, 1], n_estimators=1000, stop={"rounds": 25, "save_best": True}),
            case("dart", [2], n_estimators=90, booster="dart"),
            case("few", [], n_estimators=10),
        ]
    )
)
