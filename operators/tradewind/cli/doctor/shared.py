"""What every deployment has: valid settings, a store, MLflow, Airflow's own API."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tradewind.cli.doctor.result import LIMIT, Check, Result, failed, passed, skipped
from tradewind.errors import SpecError
from tradewind.registry import Registry
from tradewind.settings import OPTIONS, SECTION, Settings, on_this_machine
from tradewind.store import Store

_AT_ONCE = 8  # writers of one file
PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")


def wrong_settings(get: Callable[[str], str | None]) -> Iterator[Result]:
    """A line for each option whose value is wrong; one that passes where none is.

    Args:
        get: an option's text, or None where it is not set.
    """
    wrong = 0
    for option in OPTIONS:
        try:
            Settings.read(lambda asked, option=option: get(asked) if asked == option else None)  # type: ignore[misc]
        except SpecError as error:
            wrong += 1
            yield failed("settings", str(error), f"Correct [{SECTION}] {option} in Airflow's configuration")
    if not wrong:
        read = Settings.read(get)
        yield passed("settings", f"valid: runtime {read.runtime}, serving {read.serving}, home {read.home}")


def checks(settings: Settings) -> list[Check]:
    return [
        Check(
            name="store",
            look=lambda: store(settings),
            hint=f"The store is [{SECTION}] store_uri, {settings.store_uri}: check that this login may write to it",
        ),
        Check(
            name="MLflow",
            look=lambda: mlflow(settings),
            hint=f"MLflow is [{SECTION}] tracking_uri, {settings.tracking_uri}: check that it is running, and that "
            "tracking_username and tracking_password may create and delete registered models",
        ),
        Check(
            name="Airflow",
            look=lambda: airflow(settings),
            hint=f"[api] base_url in Airflow's configuration is {settings.airflow_url}: check that the API server "
            "listens there and that this machine can reach it",
        ),
    ]


def store(settings: Settings) -> Iterator[Result]:
    """Writes, reads, writes exclusively; removes what it wrote."""
    if settings.runtime == "kubernetes" and _is_folder(settings.store_uri):
        yield failed(
            "store, for pods",
            f"{settings.store_uri} is a folder on this machine: pods cannot see it",
            f"Set [{SECTION}] store_uri to a place that pods can reach too, such as s3://bucket/tradewind",
        )
    try:
        place = Store(settings.store_uri)
        folder = f"{place.root}/doctor-{uuid.uuid4().hex}"
        place.exists(folder)
    except (ImportError, ValueError) as error:
        fix = "Install the fsspec package of the store's kind (s3fs for s3) where Airflow and the steps run"
        yield failed("store", f"{settings.store_uri}: {error}", fix)
        return
    text = uuid.uuid4().hex.encode()
    try:
        place.write(f"{folder}/file", text)
        if (got := place.read(f"{folder}/file")) != text:
            yield failed(
                "store", f"{settings.store_uri}: wrote {text!r}, read {got!r}", "The store must return what was written to it"
            )
            return
        yield passed("store", f"{settings.store_uri}: written and read")
        won = _winners(place, f"{folder}/once")
        if len(won) == 1 and place.read(f"{folder}/once") == str(won[0]).encode():
            yield passed("store, exclusive", f"of {_AT_ONCE} simultaneous writers of one file, exactly one succeeded")
        else:
            fix = "Two tries of a step could both commit: use a store with conditional writes (If-None-Match in S3)"
            yield failed("store, exclusive", f"of {_AT_ONCE} simultaneous writers of one file, {len(won)} succeeded", fix)
    finally:
        place.delete(folder)


def _winners(place: Store, uri: str) -> list[int]:
    """The numbers of those who wrote a file exclusively, each its own number and all at once, and were told that they did."""
    ready = threading.Barrier(_AT_ONCE)

    def write(number: int) -> bool:
        ready.wait()
        return place.write(uri, str(number).encode(), exclusive=True)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [number for number, won in enumerate(pool.map(write, range(_AT_ONCE))) if won]


def mlflow(settings: Settings) -> Iterator[Result]:
    """Answers, and lets this login make what a release needs: an experiment, a registered model."""
    if settings.runtime == "kubernetes" and on_this_machine(settings.tracking_uri):
        yield failed(
            "MLflow, for pods",
            f"{settings.tracking_uri} is an address on this machine: inside a pod it means the pod itself",
            f"Set [{SECTION}] tracking_uri to an address that pods can reach",
        )
    with Registry.of(settings, timeout_s=LIMIT) as registry:
        yield passed("MLflow", f"{settings.tracking_uri} answers, version {registry.server_version()}")
        registry.try_out(f"tradewind-doctor-{uuid.uuid4().hex[:8]}")
        who = settings.tracking_username or "without a login"
        yield passed("MLflow, rights", f"{who}: has the experiment of release records, created and deleted a registered model")


def airflow(settings: Settings) -> Iterator[Result]:
    """Airflow's API answers at the address that links and steps are given; its parts are alive."""
    url = settings.airflow_url
    if not url:
        yield skipped("Airflow", "[api] base_url is not set", "Set it: links to reports start with it")
        return
    with httpx.Client(base_url=url, timeout=LIMIT, trust_env=not on_this_machine(url), follow_redirects=True) as client:
        version = client.get("/api/v2/version").raise_for_status().json()["version"]
        yield passed("Airflow", f"{url} answers, version {version}")
        health = client.get("/api/v2/monitor/health").raise_for_status().json()
    for part in PARTS:
        status = (health.get(part) or {}).get("status")
        if status == "healthy":
            yield passed(f"Airflow, {part}", "healthy")
        else:
            fix = f"Start `airflow {part.replace('_', '-')}`" if part != "metadatabase" else "Check that its database is running"
            yield failed(f"Airflow, {part}", f"Airflow reports it as {status or 'missing'}", fix)


def _is_folder(uri: str) -> bool:
    return "://" not in uri or uri.startswith("file://") or Path(uri).is_absolute()
