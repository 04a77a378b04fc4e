"""Serving by Seldon, as far as it is decided without a cluster: what is written, and what is made of what is there.

The objects are those that the stand-in's operator makes, with the statuses that Kubernetes gives them.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
from cluster.seldon_standin import made

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted, SpecError
from tradewind.serving.seldon import moves
from tradewind.serving.seldon import view as seen
from tradewind.serving.seldon.desired import (
    DARK,
    HOST_ANNOTATION,
    Options,
    deployment_name,
    predictor,
    predictor_name,
    seldon_deployment,
)
from tradewind.serving.seldon.statistics import parse
from tradewind.serving.seldon.view import View

Object = dict[str, Any]
OPTIONS = Options(
    image="registry.example.org/serve:1", predictor_image="registry.example.org/predictor:1", service_account="tradewind-step",
    secret="store",
)  # fmt: skip


def model(sha256: str = "a" * 64) -> ArtifactRef:
    return ArtifactRef(uri="s3://models/m", sha256=sha256, size=1, kind="model")


def sdep(**shares: int) -> Object:
    """A SeldonDeployment that serves, with these versions' traffic: ``v1=90``."""
    first, *_ = found = [predictor("m", name.removeprefix("v"), model(name[1:] * 64), OPTIONS) for name in shares]
    made_of = seldon_deployment("m", "models", first)
    del made_of["metadata"]["annotations"][HOST_ANNOTATION]
    made_of["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    made_of["spec"]["predictors"] = [{**p, "traffic": traffic} for p, traffic in zip(found, shares.values(), strict=True)]
    return made_of


def cluster(spec: Object, *, routed: Object | None = None) -> View:
    """All that the operator makes of ``spec``, well; its VirtualService perhaps still that of another spec."""
    deployments = [
        {
            **d, "metadata": {**d["metadata"], "generation": 1},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1},
        }
        for d in made.deployments(spec)
    ]  # fmt: skip
    services = [{**s, "spec": {**s["spec"], "clusterIP": "10.96.0.7"}} for s in made.services(spec)]
    route = {**made.virtual_service(routed or spec)}
    return View(sdep=spec, deployments=tuple(deployments), services=tuple(services), route=route)


def unwell(view: View, name: str, **status: int) -> View:
    """With a Deployment that has not all its pods; with none by default."""
    changed = copy.deepcopy(view.deployments)
    found = next(d for d in changed if seen.label(d, "version") == name)
    found["status"] = {"observedGeneration": 1, "replicas": 1, "unavailableReplicas": 1, "updatedReplicas": 1, **status}
    return dataclasses.replace(view, deployments=changed)


def applied(view: View, write: moves.Write) -> Object:
    """The SeldonDeployment after a merge patch."""
    after = copy.deepcopy(dict(view.sdep))
    after["spec"] |= write.body["spec"]
    for name, value in write.body.get("metadata", {}).get("annotations", {}).items():
        after["metadata"]["annotations"].pop(name, None) if value is None else after["metadata"]["annotations"].update(
            {name: value}
        )
    return after


# -- names ----------------------------------------------------------------------------------------------------------------


def test_names_are_labels_that_tell_apart_and_leave_a_deployment_its_own_name() -> None:
    targets = ["flights", "flight_delay", "Flight.Delay", "flight-delay", "x" * 128, "x" * 127 + "y"]
    names = [deployment_name(target) for target in targets]
    assert names[0] == "flights" and names[3] == "flight-delay" and len(set(names)) == len(targets)
    versions = ["1", "2026.11.26-rc.1", "A", "a", "7" * 128]
    labels = [predictor_name(version) for version in versions]
    assert labels[0] == "v1" and len(set(labels)) == len(versions)
    longest = seldon_deployment("x" * 128, "models", predictor("x" * 128, "7" * 128, model(), OPTIONS))
    assert len(made.deployments(longest)[0]["metadata"]["name"]) <= 63
    assert not made.deployments(longest)[0]["metadata"]["name"].startswith("seldon-")
    with pytest.raises(SpecError, match="letters"):
        deployment_name("a/b")


# -- pods that nobody restarts --------------------------------------------------------------------------------------------


def test_promotion_changes_nothing_of_the_pods_that_stay_and_without_ports_it_would() -> None:
    both, one = sdep(v1=0, v2=100), sdep(v2=100)
    assert made.deployments(both)[1] == made.deployments(one)[0]
    for spec in (both, one):
        for p in spec["spec"]["predictors"]:
            container = p["componentSpecs"][0]["spec"]["containers"][0]
            container["ports"] = [port for port in container["ports"] if port["name"] != "metrics"]
    assert made.deployments(both)[1] != made.deployments(one)[0]


def test_traffic_is_no_part_of_a_pod_but_copies_are() -> None:
    before = made.deployments(sdep(v1=100, v2=0))
    assert made.deployments(sdep(v1=90, v2=10)) == before
    view = cluster(sdep(v1=100, v2=0))
    write = moves.mirrored(view, "2", 30)
    assert write and made.deployments(applied(view, write))[1] != before[1]


def test_responses_name_target_and_version_whatever_the_operator_says() -> None:
    (deployment,) = made.deployments(sdep(v3=100))
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    variables = {v["name"]: v["value"] for v in container["env"]}
    assert (variables["MLSERVER_MODEL_NAME"], variables["MLSERVER_MODEL_VERSION"]) == ("m", "3")
    assert variables["MLSERVER_MODEL_IMPLEMENTATION"] == "tradewind_steps.serve.runtime.Runtime"
    assert variables["MLSERVER_METRICS_PORT"] == "6000"
    assert (container["readinessProbe"]["periodSeconds"], "initialDelaySeconds" in container["readinessProbe"]) == (1, False)
    assert deployment["spec"]["template"]["spec"]["initContainers"][0]["args"] == [
        f"s3://models/m#sha256={'3' * 64}",
        "/mnt/models",
    ]


# -- what is there --------------------------------------------------------------------------------------------------------


def test_a_version_is_what_its_deployment_and_the_route_say() -> None:
    served = seen.served(cluster(sdep(v1=90, v2=10)), "m")
    assert {v: (s.ready, s.weight, s.mirror, s.digest[:1]) for v, s in served.items()} == {
        "1": (True, 90, 0, "1"), "2": (True, 10, 0, "2"),
    }  # fmt: skip
    assert served["2"].url == "http://10.96.0.7:9000/v2/models/m"


def test_the_status_is_not_believed() -> None:
    spec = sdep(v1=90, v2=10)
    spec["status"] = {"state": "Available"}
    assert not seen.converged(unwell(cluster(spec), "v2"))
    assert not seen.converged(cluster(spec, routed=sdep(v1=100, v2=0)))
    spec["status"] = {"state": "Failed"}
    assert seen.converged(cluster(spec))
    assert seen.converged(cluster(sdep(v1=100)))


def test_a_generation_that_nobody_looked_at_yet_is_not_settled() -> None:
    view = cluster(sdep(v1=100))
    changed = copy.deepcopy(view.deployments)
    changed[0]["metadata"]["generation"] = 2
    assert not seen.converged(dataclasses.replace(view, deployments=changed))


def test_a_deployment_that_the_operator_forgot_is_a_version_still() -> None:
    both = cluster(sdep(v1=100, v2=0))
    view = dataclasses.replace(cluster(sdep(v1=100)), deployments=both.deployments)
    assert not seen.converged(view)
    assert (seen.served(view, "m")["2"].ready, seen.served(view, "m")["2"].weight) == (False, 0)
    leaving = copy.deepcopy(both.deployments)
    leaving[1]["metadata"]["deletionTimestamp"] = "2026-11-26T00:00:00Z"
    assert set(seen.served(dataclasses.replace(view, deployments=leaving), "m")) == {"1"}


def test_a_first_version_serves_nobody_until_it_is_given_requests() -> None:
    first = seldon_deployment("m", "models", predictor("m", "1", model(), OPTIONS))
    first["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    view = cluster(first)
    assert made.virtual_service(first)["spec"]["hosts"] == [DARK]
    assert (view.shares, seen.served(view, "m")["1"].weight) == ({}, 0)
    write = moves.towards(view, {"1": 100})
    assert write
    live = cluster(applied(view, write))
    assert (live.shares, moves.in_effect(live, {"1": 100})) == ({"v1": 100}, True)
    back = moves.to_nobody(live)
    assert back and cluster(applied(live, back)).shares == {}


# -- the next write -------------------------------------------------------------------------------------------------------


def test_shares_move_by_the_spec_and_are_waited_for() -> None:
    view = cluster(sdep(v1=100, v2=0))
    write = moves.towards(view, {"1": 90, "2": 10})
    assert write and write.kind == "spec"
    after = applied(view, write)
    assert [p["traffic"] for p in after["spec"]["predictors"]] == [90, 10]
    waiting = cluster(after, routed=view.sdep)
    assert moves.towards(waiting, {"1": 90, "2": 10}) is None and not moves.in_effect(waiting, {"1": 90, "2": 10})
    assert moves.in_effect(cluster(after), {"1": 90, "2": 10})


def test_a_canary_that_is_not_well_is_taken_out_and_not_weighted_to_0() -> None:
    view = unwell(cluster(sdep(v1=90, v2=10)), "v2")
    write = moves.towards(view, {"1": 100})
    assert write and write.kind == "spec"
    assert [(p["name"], p["traffic"]) for p in write.body["spec"]["predictors"]] == [("v1", 100)]


def test_where_the_stable_side_is_not_well_either_the_route_goes_first_and_the_operator_finds_nothing_to_put_back() -> None:
    view = unwell(unwell(cluster(sdep(v1=90, v2=10)), "v2"), "v1", replicas=2, availableReplicas=1)
    first = moves.towards(view, {"1": 100})
    assert first and first.kind == "route"
    routed = {**view.route, "spec": {**view.route["spec"], **first.body["spec"]}}
    view = dataclasses.replace(view, route=routed)
    second = moves.towards(view, {"1": 100})
    assert second and second.kind == "spec"
    after = applied(view, second)
    assert made.virtual_service(after)["spec"] == routed["spec"]
    assert moves.towards(dataclasses.replace(view, sdep=after), {"1": 100}) is None


def test_who_moves_requests_to_a_version_that_cannot_take_them_is_told() -> None:
    view = unwell(cluster(sdep(v1=100, v2=0)), "v2")
    for weights, why in (({"1": 50, "2": 40}, "sum to 100"), ({"2": 100}, "not ready"), ({"1": 90, "9": 10}, "not loaded")):
        with pytest.raises(RolloutAborted, match=why):
            moves.checked_weights(view, "m", weights)
    moves.checked_weights(view, "m", {"1": 100})
    moves.checked_weights(view, "m", {"2": 100}, even_unready=True)
    with pytest.raises(RolloutAborted, match="not loaded"):
        moves.checked_weights(view, "m", {"9": 100}, even_unready=True)


def test_copies_come_and_go_and_a_version_with_a_share_gets_none() -> None:
    view = cluster(sdep(v1=100, v2=0))
    write = moves.mirrored(view, "2", 30)
    assert write
    shadow = cluster(applied(view, write))
    assert (shadow.copies, shadow.shares, seen.converged(shadow)) == ({"v2": 30}, {"v1": 100}, True)
    shared = moves.towards(shadow, {"1": 90, "2": 10})
    assert shared and [p.get("shadow") for p in shared.body["spec"]["predictors"]] == [None, None]
    none = moves.mirrored(shadow, "2", 0)
    assert none and cluster(applied(shadow, none)).copies == {}
    assert moves.mirrored(cluster(applied(shadow, none)), "2", 0) is None
    # Its pods are started anew, and until they are there the operator leaves the route alone.
    waiting = cluster(applied(shadow, none), routed=shadow.sdep)
    route = moves.mirrored(waiting, "2", 0)
    assert route and route.kind == "route" and "mirror" not in route.body["spec"]["http"][0]


def test_what_nobody_reaches_yet_sums_to_100_too() -> None:
    first, second = sdep(v1=0)["spec"]["predictors"][0], sdep(v2=0)["spec"]["predictors"][0]
    assert [p["traffic"] for p in moves.spec_patch([first, second]).body["spec"]["predictors"]] == [100, 0]


# -- words ----------------------------------------------------------------------------------------------------------------


def pod(name: str, **status: Any) -> Object:
    return {"metadata": {"name": f"{name}-x", "labels": {"version": name}}, "status": status}


def ended(name: str, code: int, message: str, restarts: int = 1) -> Object:
    terminated = {"exitCode": code, "reason": "Error", "message": message}
    return {"name": name, "restartCount": restarts, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": terminated}}  # fmt: skip


def test_why_a_version_does_not_come_is_said_in_its_own_words() -> None:
    view = cluster(sdep(v1=100, v2=0))
    loader = ended("model-model-initializer", 1, "There is no model folder at s3://models/m")
    lost = dataclasses.replace(view, pods=(pod("v2", initContainerStatuses=[loader]),))
    assert (seen.hopeless(lost, "v2") or "").startswith("There is no model folder at s3://models/m\n")
    log = "INFO:     Started\nTraceback:\n  File x\n_pickle.UnpicklingError: pickle data was truncated\n"
    broken = dataclasses.replace(view, pods=(pod("v2", containerStatuses=[ended("model", 1, log)]),))
    assert (seen.hopeless(broken, "v2") or "").startswith("_pickle.UnpicklingError: pickle data was truncated\n")
    assert seen.restarts(broken, "v2") == 1
    well = dataclasses.replace(view, pods=(pod("v2", containerStatuses=[ended("model", 0, "")]),))
    assert "its container model ended with exit code 0" in (seen.hopeless(well, "v2") or ""), "a server is not to end"
    done = {"name": "model-model-initializer", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}
    assert seen.hopeless(dataclasses.replace(view, pods=(pod("v2", initContainerStatuses=[done]),)), "v2") is None
    again = dataclasses.replace(view, pods=(pod("v2", initContainerStatuses=[ended("i", 75, "the store is away")]),))
    assert seen.hopeless(again, "v2") is None and "the store is away" in (seen.trouble(again, "v2") or "")
    assert seen.hopeless(view, "v2") is None
    leaving = copy.deepcopy(broken.pods)
    leaving[0]["metadata"]["deletionTimestamp"] = "2026-11-26T00:00:00Z"
    assert seen.hopeless(dataclasses.replace(view, pods=leaving), "v2") is None


def test_a_pod_that_its_node_gave_up_tells_nothing_of_the_version_while_there_is_another() -> None:
    view = cluster(sdep(v1=100, v2=0))
    killed = {"name": "model", "restartCount": 0, "state": {"terminated": {"exitCode": 137, "reason": "Error"}}}
    evicted = pod("v2", phase="Failed", reason="Evicted", message="low on memory", containerStatuses=[killed])
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    other = pod("v2", phase="Pending", containerStatuses=[{"name": "model", "restartCount": 0, "state": waiting}])
    assert seen.hopeless(dataclasses.replace(view, pods=(evicted,)), "v2") is None
    assert seen.trouble(dataclasses.replace(view, pods=(evicted,)), "v2") == "Evicted: low on memory"
    assert seen.trouble(dataclasses.replace(view, pods=(evicted, other)), "v2") == "ImagePullBackOff: no such image"


def test_pods_that_cannot_be_made_are_named() -> None:
    view = unwell(cluster(sdep(v1=100, v2=0)), "v2")
    changed = copy.deepcopy(view.deployments)
    changed[1]["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: pods"}]
    assert seen.trouble(dataclasses.replace(view, deployments=changed), "v2") == "exceeded quota: pods"


# -- statistics -----------------------------------------------------------------------------------------------------------

ISTIO = """
# TYPE envoy_cluster_upstream_rq_completed counter
envoy_cluster_upstream_rq_completed{cluster_name="outbound|9000|v2|m-v2.models.svc.cluster.local"} 20
envoy_cluster_upstream_rq{response_code_class="5xx",cluster_name="outbound|9000|v2|m-v2.models.svc.cluster.local"} 3
envoy_cluster_upstream_rq{response_code_class="2xx",cluster_name="outbound|9000|v2|m-v2.models.svc.cluster.local"} 17
envoy_cluster_external_upstream_rq_completed{cluster_name="outbound|9000|v2|m-v2.models.svc.cluster.local"} 20
envoy_cluster_upstream_rq_active{cluster_name="outbound|9000|v2|m-v2.models.svc.cluster.local"} 1
envoy_cluster_upstream_rq_time_bucket{cluster_name="outbound|9000|v2|m-v2.models.svc.cluster.local",le="5"} 10
envoy_cluster_upstream_rq_time_bucket{cluster_name="outbound|9000|v2|m-v2.models.svc.cluster.local",le="10"} 20
envoy_cluster_upstream_rq_time_bucket{cluster_name="outbound|9000|v2|m-v2.models.svc.cluster.local",le="+Inf"} 20
envoy_cluster_upstream_rq_completed{cluster_name="outbound|9000|v2|m-v2.others.svc.cluster.local"} 500
envoy_cluster_upstream_rq_completed{cluster_name="outbound|9500|v2|m-v2.models.svc.cluster.local"} 500
"""
PLAIN = """
envoy_cluster_models_svc_cluster_local__upstream_rq_completed{envoy_cluster_name="outbound|9000|v2|m-v2"} 5
envoy_cluster_models_svc_cluster_local__upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="outbound|9000|v2|m-v2"} 2
envoy_cluster_models_svc_cluster_local__internal_upstream_rq_completed{envoy_cluster_name="outbound|9000|v2|m-v2"} 5
envoy_cluster_others_svc_cluster_local_upstream_rq_completed{envoy_cluster_name="outbound|9000|v2|m-v2"} 500
"""


def test_all_replicas_of_the_gateway_are_summed_and_nobody_elses_requests() -> None:
    found = parse([ISTIO, ISTIO, PLAIN], namespace="models", services={"m-v1": "1", "m-v2": "2"})
    assert (found["2"].requests, found["2"].errors, found["2"].active) == (45, 8, 2)
    assert found["2"].latency == {"0": 20, "5": 20}
    assert (found["2"].latency_ms["50"], found["2"].latency_ms["95"]) == (5.0, 9.5)
    assert (found["1"].requests, found["1"].latency_ms) == (0, {})
