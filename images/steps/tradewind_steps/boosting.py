"""XGBoost that goes on where it was ended: the trees that were saved are taken, the rounds that are left are learned.

Without sampling of rows or columns the result is that of one unbroken run. With it, another sample is drawn after the break,
for the random numbers start anew: the model is another one that is as good.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from xgboost.callback import EarlyStopping, EvaluationMonitor, TrainingCallback

if TYPE_CHECKING:
    from tradewind_steps.checkpoint import Checkpoint

log = logging.getLogger("tradewind")
EVERY = 20  # rounds between two checkpoints
MODEL, PROGRESS = "trees.ubj", "trees.json"
Curve = dict[str, dict[str, list[float]]]
_PATIENCE = ("stopping_history", "best_scores", "current_rounds", "maximize")  # what early stopping remembers


def fit(checkpoint: Checkpoint, model: Any, X: Any, y: Any, *, verbose: bool | int = True, **arguments: Any) -> Any:  # noqa: N803
    """``model.fit(X, y, **arguments)``, saved every `EVERY` rounds. ``model`` is as after an unbroken run: its rounds, its
    learning curve, its patience.

    Args:
        model: an XGBoost estimator, ``XGBClassifier`` and the like.
    """
    rounds = model.get_num_boosting_rounds()
    if rounds <= EVERY:  # forests too, which take no callback
        return model.fit(X, y, verbose=verbose, **arguments)
    given = model.n_estimators, model.callbacks, model.early_stopping_rounds
    own = list(model.callbacks or [])
    if model.early_stopping_rounds is not None:  # ours instead of the one that the estimator would make: its memory is saved
        own.append(EarlyStopping(rounds=model.early_stopping_rounds))
    progress = _Progress(checkpoint, next((each for each in own if isinstance(each, EarlyStopping)), None))
    trees = checkpoint.folder / MODEL
    if trees.exists():
        progress.recall()
        arguments["xgb_model"] = str(trees)
        log.info("Resumed from round %d", progress.done)
    said = [_Said(progress.done, period=int(verbose))] if verbose else []
    # Attributes, not set_params: that hands a fitted booster what it does not know.
    model.n_estimators, model.callbacks, model.early_stopping_rounds = rounds - progress.done, [*said, *own, progress], None
    try:
        model.fit(X, y, verbose=False, **arguments)
    finally:
        model.n_estimators, model.callbacks, model.early_stopping_rounds = given
    model.evals_result_ = progress.whole(getattr(model, "evals_result_", {}))
    return model


class _Progress(TrainingCallback):  # type: ignore[misc]
    """Saves the trees, and with them what the estimator and its early stopping remember.

    Args:
        stop: the early stopping that there is. It must be asked before this callback: its state is saved with this round.
    """

    def __init__(self, checkpoint: Checkpoint, stop: EarlyStopping | None) -> None:
        super().__init__()
        self._checkpoint = checkpoint
        self._stop = stop
        self.done = 0  # rounds of earlier tries
        self._curve: Curve = {}  # of those

    def recall(self) -> None:
        """Take what is in the checkpoint's folder."""
        found = json.loads((self._checkpoint.folder / PROGRESS).read_text())
        self.done, self._curve = found["rounds"], found["curve"]
        if self._stop and found["patience"]:
            vars(self._stop).update(found["patience"])

    def whole(self, curve: Curve) -> Curve:
        """The learning curve from the first round on: that of the earlier tries, and what came after."""
        return {
            data: {name: [*self._curve.get(data, {}).get(name, []), *values] for name, values in figures.items()}
            for data, figures in curve.items()
        }

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        rounds = self.done + epoch + 1
        if rounds % EVERY == 0:
            folder = self._checkpoint.folder
            model.save_model(folder / MODEL)
            patience = {name: getattr(self._stop, name) for name in _PATIENCE} if self._stop else None
            (folder / PROGRESS).write_text(json.dumps({"rounds": rounds, "curve": self.whole(evals_log), "patience": patience}))
            self._checkpoint.saved()
        return False


class _Said(EvaluationMonitor):  # type: ignore[misc]
    """Counts the rounds of earlier tries too."""

    def __init__(self, done: int, *, period: int) -> None:
        super().__init__(period=period)
        self._done = done

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        return bool(super().after_iteration(model, self._done + epoch, evals_log))
