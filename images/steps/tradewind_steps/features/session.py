"""A Spark session for one step: the driver in this process, tuned for jobs of seconds, gone with its JVM at the end.

Each setting was measured on the flights; see `_settings`.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.sql import SparkSession

from tradewind.errors import StepFailed
from tradewind_steps.features.executors import LOCAL_DIRS, Cluster
from tradewind_steps.features.java import check_java

log = logging.getLogger("tradewind")

_PROGRESS_SECONDS = 3.0
_JVM_END_SECONDS = 20.0
_LOGGING = """\
rootLogger.level = error
logger.python.name = org.apache.spark.api.python.PythonGatewayServer
logger.python.level = error
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n
"""
# C1 alone and one collector thread: a job of seconds ends before the better compiler pays.
_JAVA_OPTIONS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
# What points to another Spark than the environment's, or gives this one a master and packages of somebody's shell.
_OTHER_SPARK = ("SPARK_HOME", "SPARK_CONF_DIR", "SPARK_SUBMIT_OPTS", "PYSPARK_SUBMIT_ARGS")


@contextmanager
def spark_session(
    name: str,
    scratch: Path,
    *,
    code: Path | None = None,
    cpu: float | None = None,
    memory_mb: int | None = None,
    cluster: Cluster | None = None,
) -> Iterator[SparkSession]:
    """A session with ``local[cpu]``, or with executors on a cluster; when it ends, however it ends, no JVM is left.

    Args:
        scratch: a folder for all that Spark writes beside its output.
        code: the folder of the user's modules: Spark's Python workers import them too.
        cpu: threads that run tasks, at least one, a fraction of one being none; None: all cores.
        memory_mb: of the whole step; three quarters of it are the JVM's heap, the rest is Python's.
        cluster: where executors run the tasks; this process is their driver then.

    Raises:
        SpecError: no Java, or too old.
        StepFailed: no executor came up.
    """
    check_java()
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    logging_file = scratch / "log4j2.properties"
    logging_file.write_text(_LOGGING)
    options = f"{_JAVA_OPTIONS} -Dlog4j2.configurationFile={logging_file.as_uri()}"
    for name in _OTHER_SPARK:
        os.environ.pop(name, None)
    os.environ.update(
        PYSPARK_PYTHON=sys.executable,  # else the workers are of whatever Python is first on the path
        PYSPARK_DRIVER_PYTHON=sys.executable,
        SPARK_LOCAL_DIRS=LOCAL_DIRS if cluster else str(scratch / "spark"),
        SPARK_LAUNCHER_OPTS=_JAVA_OPTIONS,  # the JVM that only makes the command line of the other
    )
    if not cluster:
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    if code:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])])
    builder = SparkSession.builder.appName(name)
    settings = _settings(scratch, cpu, memory_mb, options)
    if cluster:
        settings |= cluster.settings(scratch, code)
    for key, value in settings.items():
        builder = builder.config(key, value)
    watch = cluster.watch() if cluster else None
    try:
        with watch.running() if watch else nullcontext():
            spark = builder.getOrCreate()
            try:
                if watch:
                    tracker = spark.sparkContext._jsc.sc().statusTracker()
                    watch.wait_for_first(lambda: len(tracker.getExecutorInfos()) > 1)  # the driver is one of those that it counts
                with _progress(spark.sparkContext):
                    yield spark
            except Exception:
                _stop(spark)
                raise
            spark.stop()
    except Exception as error:
        code_of_jvm = _ended(error)
        if code_of_jvm is None:
            raise
        if watch and watch.last:
            raise StepFailed(f"Spark gave up after too many of its executors had ended, the last one by: {watch.last}") from error
        raise StepFailed(
            f"Spark's JVM ended by itself (exit code {code_of_jvm}): killed from outside, most often for want of memory; "
            "a resource profile with more memory_mb may help"
        ) from error
    finally:
        _end_jvm()


def _settings(scratch: Path, cpu: float | None, memory_mb: int | None, java_options: str) -> dict[str, str]:
    cores = max(1, int(cpu)) if cpu else None
    settings = {
        "spark.master": f"local[{cores or '*'}]",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.extraJavaOptions": java_options,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # with its zone; by default none is written
        "spark.sql.shuffle.partitions": str(max(4, 2 * (cores or os.cpu_count() or 1))),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.sql.debug.maxToStringFields": "1000",
    }
    if memory_mb:
        settings["spark.driver.memory"] = f"{max(512, memory_mb * 3 // 4)}m"
    return settings


@contextmanager
def _progress(context: SparkContext) -> Iterator[None]:
    """Meanwhile, a line in the log for the running stages, at most every few seconds, and only where something moved."""
    done = threading.Event()

    def watch() -> None:
        tracker, said = context.statusTracker(), ""
        while not done.wait(_PROGRESS_SECONDS):
            try:
                stages = [tracker.getStageInfo(stage) for stage in sorted(tracker.getActiveStageIds())]
            except (Py4JError, OSError):
                return  # the JVM is gone; whoever waits for its work says so
            line = ", ".join(f"stage {s.stageId}: {s.numCompletedTasks} of {s.numTasks} tasks" for s in stages if s)
            if line and line != said:
                log.info("Spark: %s", line)
                said = line

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _stop(spark: SparkSession) -> None:
    """As far as it can be, after an error: a Spark that goes on complains of its JVM's end, and starts others in place of the
    executors that are taken away."""

    def stop() -> None:
        with suppress(Exception):  # of a JVM that has ended
            spark.stop()

    stopping = threading.Thread(target=stop, name="stop", daemon=True)
    stopping.start()
    stopping.join(_JVM_END_SECONDS)


def _ended(error: Exception) -> int | None:
    """The exit code of a JVM that is gone though nobody ended it; None while it lives, or where it never started."""
    gateway: Any = SparkContext._gateway
    if gateway is None:
        return None
    try:
        str(error)
        patience = 1.0  # a JVM that was killed a moment ago may still be on its way out
    except Exception:  # the message is the JVM's, which does not answer
        patience = _JVM_END_SECONDS
    try:
        return int(gateway.proc.wait(patience))
    except subprocess.TimeoutExpired:
        return None


def _end_jvm() -> None:
    """Close the gateway and wait for its JVM: pyspark leaves both to the end of the process."""
    gateway: Any = SparkContext._gateway
    if gateway is None:
        return
    gateway.shutdown()
    SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None
    jvm = gateway.proc
    jvm.stdin.close()  # what its main thread waits for
    try:
        jvm.wait(_JVM_END_SECONDS)
    except subprocess.TimeoutExpired:
        jvm.kill()
