"""Which images `tradewind doctor` looks for on the nodes, and what it says of those that are on none."""

from __future__ import annotations

from pathlib import Path

import pytest
from kube_world import KubeWorld

from tradewind.cli.doctor.cluster import Cluster
from tradewind.cli.doctor.result import Result
from tradewind.settings import Settings


def look(folder: Path, *there: str, with_pods: bool = False, **options: str) -> dict[str, Result]:
    """The lines by image, on a cluster whose two nodes have the images ``there``."""
    given = {"home": str(folder), "runtime": "kubernetes", "image": "example.org/{image}:1", **options}
    cluster = Cluster(Settings.read(given.get), "kubernetes_default", with_pods=with_pods)
    world = cluster.kube = KubeWorld()
    names = [f"example.org/{image}:1" for image in there]
    for node in "ab":
        world.objects[f"/api/v1/nodes/{node}"] = {"metadata": {"name": node}, "status": {"images": [{"names": names}]}}
    return {line.name.removeprefix("image "): line for line in cluster.images()}


def test_every_image_that_the_settings_can_use(tmp_path: Path) -> None:
    assert set(look(tmp_path)) == {"data", "train", "torch"}
    found = look(tmp_path, "data", "torch", "serve", serving="seldon")
    assert {image: line.state for image, line in found.items()} == {
        "data": "pass", "train": "skipped", "torch": "pass", "serve": "pass", "predictor": "skipped",
    }  # fmt: skip
    assert found["data"].detail == "example.org/data:1: on 2 of 2 nodes"


@pytest.mark.parametrize("with_pods", [False, True])
def test_of_one_that_is_on_no_node_it_says_how_to_look(tmp_path: Path, with_pods: bool) -> None:
    found = look(tmp_path, with_pods=with_pods, serving="seldon")
    for image in ("data", "train"):
        assert "it will be pulled" in found[image].detail
        assert ("tradewind doctor --pods" in found[image].fix) is not with_pods, "a pod of it is on its way"
    for image in ("torch", "serve", "predictor"):
        assert found[image].fix.endswith(f"docker manifest inspect example.org/{image}:1")
    assert 'only a task with image="torch" needs it' in found["torch"].detail
    assert "predictor of its author's needs it" in found["predictor"].detail
