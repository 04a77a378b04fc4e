"""XGBoost that was broken off and goes on is as if it had not been: trees, learning curve, patience, best round."""

from __future__ import annotations

from pathlib import Path

from learning import call

from tradewind.runtimes.environments import Environments


def test_what_goes_on_is_as_if_it_were_unbroken(environments: Environments, tmp_path: Path) -> None:
    found = {case["name"]: case for case in call(environments.python("train"), "boosting_probe.py", str(tmp_path))}
    assert found.keys() == {"plain", "patience", "best_only", "dart", "few"}
    assert found["plain"]["rounds"] == [130, 130]
    for name in ("patience", "best_only"):
        unbroken, ours = found[name]["rounds"]
        assert 40 < unbroken == ours < 1000, "it stops early, and after it was broken off"
        assert found[name]["best"][0] is not None
    assert [name for name, case in found.items() if not case["resumed"]] == ["few"]
    for case in found.values():
        assert case["broken"][0] == case["broken"][1], case
        assert case["equal"] and case["trees"] and case["curve"] and case["as_given"], case
        assert case["best"][0] == case["best"][1]
