"""What an executor's pod runs: the JVM's command from what Spark set, and the pipeline's folder where the driver has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tradewind.packaging import bundle
from tradewind.store import Store
from tradewind_steps.executor import CODE_VARIABLE, FOLDER_VARIABLE, fetch_code, java_command

SPARK = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@10.1.2.3:4040",
    "SPARK_EXECUTOR_ID": "7",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_EXECUTOR_MEMORY": "768m",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_EXECUTOR_POD_IP": "10.1.2.4",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_EXECUTOR_POD_NAME": "features-exec-7",
    "PATH": str(Path(shutil.which("java") or "java").parent),
}


def test_the_options_keep_their_order_and_no_shell_reads_them(tmp_path: Path) -> None:
    options = {f"SPARK_JAVA_OPT_{n}": f"-Dn={n} $(id) '" for n in (10, 2, 0)}
    command = java_command({**SPARK, **options}, jars=tmp_path / "jars", logging_file=tmp_path / "log.properties")
    assert command[1:4] == [f"-Dn={n} $(id) '" for n in (0, 2, 10)]
    assert "-Xmx768m" in command
    assert command[command.index("-cp") + 1] == f"{tmp_path}/jars/*"
    said = command[command.index("org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend") + 1 :]
    assert dict(zip(said[::2], said[1::2], strict=True)) == {
        "--driver-url": SPARK["SPARK_DRIVER_URL"], "--executor-id": "7", "--cores": "2", "--app-id": "spark-1",
        "--hostname": "10.1.2.4", "--resourceProfileId": "0", "--podName": "features-exec-7",
    }  # fmt: skip


def test_an_image_without_java_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no Java"):
        java_command({**SPARK, "JAVA_HOME": str(tmp_path)}, jars=tmp_path, logging_file=tmp_path / "x")


def test_the_folder_is_where_the_driver_has_it(tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline"
    pipeline.mkdir()
    (pipeline / "words.txt").write_text("one two")
    ref = bundle(pipeline, Store(str(tmp_path / "store")))
    there = tmp_path / "where the driver has it"
    environment = {CODE_VARIABLE: ref.uri, FOLDER_VARIABLE: str(there), "PYTHONPATH": "/elsewhere"}
    fetch_code(environment)
    assert (there / "words.txt").read_text() == "one two"
    assert environment["PYTHONPATH"] == f"{there}:/elsewhere"
