"""The features step, for real: Spark in its process, small tables, the template's build and builds of users who err.

One Spark start costs seconds: many mistakes in one session are in test_features_errors.py.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from live import again_and_again

from tradewind.contract import SPEC_VARIABLE, ArtifactRef, StepManifest
from tradewind.store import Store

TEMPLATE = Path(__file__).parents[2] / "dags" / "flight_delay"
KNOWN_AFTER = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
START = datetime(2013, 1, 1, 10, tzinfo=UTC)
HOURS = 100

HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,"
    "distance,hour,minute,time_hour"
)

RunStep = Callable[..., StepManifest]


def flights(folder: Path, *, shuffled: bool = False) -> Path:
    """200 flights, two an hour; every third is late; every tenth never arrived."""
    rows = []
    for n in range(2 * HOURS):
        hour = START + timedelta(hours=n // 2)
        delay = 40 if n % 3 == 0 else -5
        arrived = "NA" if n % 10 == 0 else delay
        rows.append(
            f"2013,{hour.month},{hour.day},517,515,{delay},830,819,{arrived},{['UA', 'AA'][n % 2]},{n},N{n % 5},EWR,"
            f"{['IAH', 'MIA'][n % 2]},227,1400,5,15,{hour:%Y-%m-%dT%H:%M:%SZ}"
        )
    if shuffled:
        random.Random(0).shuffle(rows)
    path = folder / f"flights{'-shuffled' if shuffled else ''}.csv"
    path.write_text("\n".join([HEADER, *rows, ""]))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """In a folder as users have them: Hadoop takes a path as it is, it decodes no %20."""
    return Store(str(tmp_path / "a user's store"))


@pytest.fixture
def sources(tmp_path: Path, store: Store) -> dict[str, ArtifactRef]:
    hours = [f"{START + timedelta(hours=h):%Y-%m-%dT%H:%M:%SZ}" for h in range(HOURS)]
    weather = "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour\n"
    weather += "".join(f"EWR,2013,1,1,5,{30 + h % 9}.02,26,59.3,NA,10,NA,0,1012,10,{hour}\n" for h, hour in enumerate(hours))
    weather += weather.splitlines()[1] + "\n"  # one hour is there twice
    planes = "tailnum,year,type,manufacturer,model,engines,seats,speed,engine\n"
    planes += "".join(f"N{n},{2000 + n},Fixed wing multi engine,BOEING,737,2,149,NA,Turbo-fan\n" for n in range(4))
    airports = "faa,name,lat,lon,alt,tz,dst,tzone\nIAH,Houston,29.98,-95.34,97,-6,A,America/Chicago\n"
    files = {"weather": weather, "planes": planes, "airports": airports, "airlines": "carrier,name\nUA,United Air Lines\n"}
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    refs = {name: store.refer(str(tmp_path / f"{name}.csv")) for name in files}
    return {**refs, "flights": store.refer(str(flights(tmp_path)))}


@pytest.fixture
def features(
    run_step: RunStep, sources: dict[str, ArtifactRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., StepManifest]:
    """Run the step: with the template's code, or with ``code`` as the whole of a features.py; on the machine of somebody who
    has a Spark of their own."""
    (tmp_path / "a scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "a scratch"))
    monkeypatch.setenv("SPARK_HOME", "/nowhere/spark")
    monkeypatch.setenv("SPARK_CONF_DIR", "/nowhere/conf")
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master spark://nowhere:7077 pyspark-shell")

    def run(code: str | None = None, *, inputs: dict[str, ArtifactRef] | None = None, as_of: str | None = None) -> StepManifest:
        folder = TEMPLATE
        if code is not None:
            folder = tmp_path / f"pipeline-{abs(hash(code))}"
            folder.mkdir()
            (folder / "features.py").write_text(code)
        params = {"params": {}, "label": "late", "time_column": "time_hour", "known_after": KNOWN_AFTER}
        inputs = inputs or sources
        return run_step(
            "features", image="data", params=params, inputs=inputs, code=folder, entry_point="features:build", as_of=as_of,
            resources={"cpu": 2.5},
        )  # fmt: skip

    return run


def test_template_builds_features(
    features: Callable[..., StepManifest], store: Store, sources: dict[str, ArtifactRef], tmp_path: Path
) -> None:
    seen: set[int] = set()
    with again_and_again(lambda: seen.update(p.pid for p in psutil.process_iter() if of_step(p, store)), every_s=0.5):
        done = features()
    assert len(seen) >= 2, "the step and its JVM"
    assert done.error is None and done.status == "success"
    assert done.metrics["rows"] == 180  # the doubled weather hour added none
    assert done.metrics["data_end"] == (START + timedelta(hours=HOURS - 1)).isoformat()
    assert done.metrics["warnings"] == []
    report = json.loads(store.read(done.outputs["profile"].uri))
    page = store.read(done.outputs["report"].uri).decode()
    assert "alone predicts late (auc)" in page and "<script" not in page
    columns = report["columns"]
    assert report["rows"] == 180 and not set(KNOWN_AFTER) & set(columns)
    assert done.metrics["columns"] == len(columns) and done.metrics["features"] == len(columns) - 2
    assert columns["time_hour"]["type"] == "timestamp[us, tz=UTC]" and columns["temp"]["type"] == "double"
    assert columns["temp"]["nulls"] == 0 and columns["lat"]["nulls"] == 100 and columns["seats"]["nulls"] > 0
    assert columns["airline"]["top"] == [{"value": "United Air Lines", "count": 80}]
    assert columns["carrier"]["top"][0] == {"value": "AA", "count": 100}
    assert columns["late"]["mean"] == done.metrics["label_rate"] == pytest.approx(60 / 180)
    assert [p for p in psutil.process_iter() if of_step(p, store)] == [], "the JVM goes with the step"

    # The same rows in another order are the same dataset; fewer rows are another; one step's dataset is another's source.
    again = features(inputs={**sources, "flights": store.refer(str(flights(tmp_path, shuffled=True)))})
    assert again.outputs["dataset"].sha256 == done.outputs["dataset"].sha256
    cut = features(
        COPYING, inputs={"built": done.outputs["dataset"], "weather": sources["weather"]}, as_of="2013-01-02T10:00:00Z"
    )
    assert cut.error is None
    assert cut.metrics["data_end"] == "2013-01-02T09:00:00+00:00"
    assert cut.outputs["dataset"].sha256 != done.outputs["dataset"].sha256


def of_step(process: psutil.Process, store: Store) -> bool:
    """Whether a process, a step's or one that a step started, was told of a spec in this store."""
    try:
        return store.root in process.environ().get(SPEC_VARIABLE, "")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


COPYING = """
def build(spark, sources, params):
    for name in sources:
        later = sources[name].where("time_hour >= '2013-01-02T10:00:00Z'").count()
        assert later == 0, f"{name}: {later} rows of the future"
    return sources["built"]
"""
LEAKING = """
from pyspark.sql import functions as F
def build(spark, sources, params):
    flights = sources["flights"].where("arr_delay is not null")
    late = (F.col("arr_delay") > 15).cast("int")
    doubled = flights.crossJoin(spark.range(4))
    return doubled.select("time_hour", "distance", late.alias("late"), (F.col("dep_delay") * 2).alias("disguised"))
"""


def test_warnings_name_leak_and_fan_out(features: Callable[..., StepManifest]) -> None:
    done = features(LEAKING)
    assert done.error is None
    leak, fan_out = done.metrics["warnings"]
    assert "'disguised' alone nearly predicts 'late'" in leak
    assert "720 rows came out of 200 in the largest source 'flights'" in fan_out


UDF = """
from pyspark.sql.functions import udf

@udf("int")
def worse(x):
    return int(x) // 0

def build(spark, sources, params):
    return sources["flights"].select("time_hour", worse("day").alias("late"))
"""


HELPED = """
from pyspark.sql.functions import udf

def doubled(x):
    return 2 * int(x)

@udf("int")
def twice(x):
    return doubled(x)

def build(spark, sources, params):
    assert sum(spark.sparkContext.parallelize([1, 2], 2).map(doubled).collect()) == 6
    return sources["flights"].select("time_hour", (twice("day") - 2 * sources["flights"]["day"]).alias("late"))
"""


def test_a_worker_has_the_helpers_of_a_module_that_makes_udfs(features: Callable[..., StepManifest]) -> None:
    done = features(HELPED)
    assert done.error is None, done.error
    assert done.metrics["rows"] > 0


def test_error_in_a_worker_names_the_users_line(
    features: Callable[..., StepManifest], capsys: pytest.CaptureFixture[str]
) -> None:
    done = features(UDF)
    assert done.status == "failed" and done.error is not None
    assert done.error.message.startswith("features.py:6 in worse: ZeroDivisionError: ")
    assert done.error.type == "StepFailed" and done.error.retryable is False
    assert len(done.error.stack.splitlines()) < 60  # no JVM in it
    assert "EOFError" not in capsys.readouterr().out, "Spark's own threads end before its JVM"


@pytest.mark.parametrize(
    ("release", "expected"),
    [('JAVA_VERSION="11.0.2"', "is Java 11.0.2. Spark needs Java 17 or later"), (None, "There is no Java")],
)
def test_java_missing_or_old(
    features: Callable[..., StepManifest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, release: str | None, expected: str
) -> None:
    home = tmp_path / "java"
    (home / "bin").mkdir(parents=True)
    if release:
        (home / "release").write_text(release)
        (home / "bin/java").touch(mode=0o755)
    monkeypatch.setenv("JAVA_HOME", str(home))
    done = features()
    assert done.error is not None and done.error.type == "SpecError" and done.error.retryable is False
    assert expected in done.error.message and "JAVA_HOME" in done.error.message


ENDING = """
import os, signal

def build(spark, sources, params):
    os.kill(spark.sparkContext._gateway.proc.pid, signal.SIGKILL)
    return sources["flights"].selectExpr("time_hour", "1 AS late").limit(3)
"""


def test_killed_jvm_is_named_and_worth_a_retry(features: Callable[..., StepManifest]) -> None:
    done = features(ENDING)
    assert done.error is not None and done.error.retryable is True
    assert done.error.message.startswith("Spark's JVM ended by itself (exit code -9)")
