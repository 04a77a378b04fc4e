"""A person's word, held against what there is when the rollout begins."""

from __future__ import annotations

from typing import Any

from tradewind.approval.dossier import differences, gather
from tradewind.contract import digest
from tradewind.errors import ApprovalRefused
from tradewind.registry import Registry
from tradewind.rollout.spec import RolloutSpec
from tradewind.serving.base import Serving
from tradewind.store import Store


def still_approved(
    asked: dict[str, Any], *, registry: Registry, store: Store, serving: Serving, rollout: RolloutSpec
) -> dict[str, str]:
    """What a release record says of the approval.

    Args:
        asked: the approve task's metrics.

    Raises:
        ApprovalRefused: what was approved is not what there is now, or nothing was.
    """
    approval, what = asked["approval"], f"{asked['name']} version {asked['version']}"
    if approval is None:
        raise ApprovalRefused(f"{what} was the champion when its approval was asked for, and is not now: start a new run")
    pins = approval["pins"]
    now = gather(
        asked, registry=registry, store=store, serving=serving, rollout=rollout if "rollout" in pins else None
    )  # fmt: skip
    if changed := differences(pins, now.pins):
        raise ApprovalRefused(
            f"The approval of {what} by {approval['by']} is void, what they saw has changed: {'; '.join(changed)}. "
            "Start a new run: what has not changed is reused"
        )
    return {
        "approved": f"approved by {approval['by']}{': ' + approval['why'] if approval['why'] else ''}",
        "approved_by": approval["by"],
        "approved_by_id": approval["by_id"],
        "approved_at": approval["at"],
        "approved_why": approval["why"],
        "approved_pins": digest(pins),
    }
