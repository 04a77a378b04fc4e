"""What Spark is told of the executors' pods, and what these take from the driver's."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tradewind.contract import POD_IP_VARIABLE
from tradewind.runtimes.environments import Environments
from tradewind.runtimes.kubernetes.request import POD_VARIABLES

POD = {
    "metadata": {"name": "features-1", "uid": "1-2-3"},
    "spec": {
        "serviceAccountName": "step",
        "nodeSelector": {"disk": "fast"},
        "containers": [
            {
                "name": "step",
                "image": "tradewind/data:1",
                "env": [
                    {"name": "HOME", "value": "/tmp"},
                    {"name": "MY_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in POD_VARIABLES.items()),
                ],
                "envFrom": [{"secretRef": {"name": "store"}}],
            }
        ],
    },
    "status": {"phase": "Pending"},  # as the API server has it until the kubelet tells it of the container's start
}


def test_a_driver_that_starts_before_the_api_server_knows_its_address(tmp_path: Path, environments: Environments) -> None:
    (tmp_path / "pod.json").write_text(json.dumps(POD))
    probe = [environments.python("data"), Path(__file__).with_name("driver_probe.py"), tmp_path]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=60, env={**os.environ, POD_IP_VARIABLE: "10.1.2.3"})
    assert done.returncode == 0, done.stderr
    settings = json.loads(done.stdout)
    assert settings["spark.driver.host"] == settings["spark.driver.bindAddress"] == "10.1.2.3"
    assert settings["spark.kubernetes.driver.pod.name"] == "features-1"
    assert settings["spark.dynamicAllocation.maxExecutors"] == "3"
    assert (settings["spark.kubernetes.executor.request.cores"], settings["spark.executor.cores"]) == ("500m", "2")

    executor = json.loads(Path(settings["spark.kubernetes.executor.podTemplateFile"]).read_text())
    assert executor["metadata"]["labels"]["tradewind.io/driver"] == "1-2-3"
    assert executor["spec"]["nodeSelector"] == {"disk": "fast"}
    (container,) = executor["spec"]["containers"]
    assert container["env"] == [{"name": "HOME", "value": "/tmp"}]  # the others are of the driver's pod alone
    assert container["envFrom"] == [{"secretRef": {"name": "store"}}]
