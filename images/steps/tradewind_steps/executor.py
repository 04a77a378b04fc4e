"""``python -m tradewind_steps.executor``: what an executor's pod runs, in the place of the entry point of Spark's own images.

Spark says all in SPARK_* variables. The pipeline's folder is put where the driver has it, so that functions that run here
import the same modules, open the same files, and name the same lines when they fail. Then this process becomes the JVM.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path

CODE_VARIABLE = "TRADEWIND_EXECUTOR_CODE"  # the URI of the code bundle
FOLDER_VARIABLE = "TRADEWIND_EXECUTOR_FOLDER"  # where the driver has it
_WORK = Path("/tmp/executor")  # noqa: S108 - in the pod, a volume of its own; the rest cannot be written
_LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n
"""
_BACKEND = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"


def main() -> None:
    _WORK.mkdir(parents=True, exist_ok=True)
    os.chdir(_WORK)  # Spark puts files that it is sent into its working folder
    fetch_code(os.environ)
    logging_file = _WORK / "log4j2.properties"
    logging_file.write_text(_LOGGING)
    found = importlib.util.find_spec("pyspark")  # where it is; importing it would cost a second
    assert found and found.origin
    home = Path(found.origin).parent
    os.environ["SPARK_HOME"] = str(home)
    command = java_command(os.environ, jars=home / "jars", logging_file=logging_file)
    os.execv(command[0], command)  # noqa: S606 - no shell in between


def java_command(environment: Mapping[str, str], *, jars: Path, logging_file: Path) -> list[str]:
    """The executor's JVM, from what Spark set in its pod."""
    java_home = environment.get("JAVA_HOME")
    java = shutil.which("java", path=f"{java_home}/bin" if java_home else environment.get("PATH"))
    if not java:
        sys.exit("There is no Java in the executor's image")
    options = [name for name in environment if re.fullmatch(r"SPARK_JAVA_OPT_\d+", name)]
    classpath = [environment.get("SPARK_CLASSPATH", ""), f"{jars}/*"]
    arguments = {
        "--driver-url": "SPARK_DRIVER_URL",
        "--executor-id": "SPARK_EXECUTOR_ID",
        "--cores": "SPARK_EXECUTOR_CORES",
        "--app-id": "SPARK_APPLICATION_ID",
        "--hostname": "SPARK_EXECUTOR_POD_IP",
        "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
        "--podName": "SPARK_EXECUTOR_POD_NAME",
    }
    return [
        java,
        *(environment[name] for name in sorted(options, key=lambda name: int(name.rsplit("_", 1)[1]))),
        f"-Dlog4j2.configurationFile={logging_file.as_uri()}",
        f"-Xmx{environment['SPARK_EXECUTOR_MEMORY']}",
        "-cp",
        os.pathsep.join(filter(None, classpath)),
        _BACKEND,
        *(part for name, variable in arguments.items() for part in (name, environment[variable])),
    ]


def fetch_code(environment: MutableMapping[str, str]) -> None:
    uri, folder = environment.get(CODE_VARIABLE), environment.get(FOLDER_VARIABLE)
    if not (uri and folder):
        return
    from tradewind.store import Store

    with zipfile.ZipFile(Store(uri).download(uri, _WORK)) as bundle:
        bundle.extractall(folder)
    # What Python's workers import from, as the driver's do.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, environment.get("PYTHONPATH")]))


if __name__ == "__main__":
    main()
