"""A real cluster. `make test-cluster` runs these tests.

KUBECONFIG names the cluster, TRADEWIND_TEST_HOST an address of this machine that its pods reach. The images are on its nodes
(`make images`). Without a cluster, all tests here fail; `make test` leaves them out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from kubernetes import client, config
from on_kubernetes import Cluster

NAMESPACE = "tradewind-test"


@pytest.fixture(scope="session")
def host() -> str:
    return os.environ.get("TRADEWIND_TEST_HOST", "10.77.0.1")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A namespace of its own, as `charts/tradewind` makes one for steps."""
    assert os.environ.get("KUBECONFIG"), "there is no cluster: KUBECONFIG is not set"
    config.load_kube_config()
    made = Cluster(client.ApiClient(), namespace=NAMESPACE)
    made.create()
    try:
        yield made
    finally:
        made.delete()
