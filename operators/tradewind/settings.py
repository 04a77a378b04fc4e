"""One frozen `Settings` from Airflow's ``[tradewind]`` section: the one reader of Airflow's configuration.

A Dag names no cluster, path or credential, because they are here. Each option can be set in ``airflow.cfg`` or by an
environment variable ``AIRFLOW__TRADEWIND__<OPTION>``. `OPTIONS` is the only table of them: the provider's metadata is
made from it, so what Airflow documents is what this module reads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tradewind.errors import SpecError
from tradewind.profiles import PROFILES, Profile, read_profiles

SECTION = "tradewind"
RUNTIMES = ("local", "kubernetes")
SERVINGS = ("local", "seldon")
STATISTICS = ("gateway", "envoy", "istio", "executor", "mlserver")


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of the section. ``default`` None means: derived, as the description says."""

    description: str
    default: str | None = None
    example: str | None = None
    sensitive: bool = False


OPTIONS: Mapping[str, Option] = {
    "home": Option(
        description="Folder in which the embedded environment keeps all that it makes: step environments, store, data. "
        "An absolute path; ``~`` is the home folder of the user who runs Airflow.",
        default="~/.tradewind",
        example="/var/lib/tradewind",
    ),
    "store_uri": Option(
        description="Root of the artifact store, a path or ``s3://bucket/folder``. Default: ``store`` below ``home``. S3's "
        "login, region and address are the environment's of Airflow and of the steps (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
        "AWS_DEFAULT_REGION, AWS_ENDPOINT_URL); the server must know conditional writes (If-None-Match), as AWS's does.",
        example="s3://models/tradewind",
    ),
    "data_root": Option(
        description="Relative data URIs in a Dag lie under this path or URI. Default: ``data`` below ``home``.",
        example="s3://lake/raw",
    ),
    "tracking_uri": Option(
        description="MLflow's tracking and registry server, http or https.",
        default="http://127.0.0.1:5000",
        example="https://mlflow.example.org",
    ),
    "tracking_username": Option(
        description="User name for MLflow, where it asks for one.",
        example="airflow",
    ),
    "tracking_password": Option(
        description="Password for MLflow, where it asks for one.",
        sensitive=True,
    ),
    "runtime": Option(
        description=f"Where steps run. One of: {', '.join(RUNTIMES)}.",
        default="local",
    ),
    "namespace": Option(
        description="Kubernetes namespace in which steps run as pods; nothing else needs to be in it.",
        default="tradewind-steps",
    ),
    "image": Option(
        description="Reference of the images that steps run in. ``{image}`` is the step's image (data, train), ``{version}`` "
        "this package's version. A tag must never move: it is part of what a step's result is reused by.",
        default="tradewind/{image}:{version}",
        example="registry.example.org/ml/tradewind-{image}:{version}",
    ),
    "service_account": Option(
        description="Service account of steps' pods; of a step that uses Spark with executors it starts them.",
        default="tradewind-step",
    ),
    "step_secret": Option(
        description="Secret in the steps' namespace whose keys become environment variables of every step: the logins of the "
        "store and of MLflow (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, MLFLOW_TRACKING_PASSWORD, ...).",
        example="tradewind-store",
    ),
    "schedule_timeout_s": Option(
        description="Seconds that a pod may wait for a node, a quota or its queue.",
        default="3600",
    ),
    "startup_timeout_s": Option(
        description="Seconds from a pod's node to its container's start: for images and volumes.",
        default="900",
    ),
    "serving": Option(
        description=f"Where models serve. One of: {', '.join(SERVINGS)}.",
        default="local",
    ),
    "serving_namespace": Option(
        description="Kubernetes namespace of the SeldonDeployments, where serving is seldon; it needs `service_account` and "
        "`step_secret` as the steps' does.",
        default="tradewind-serving",
    ),
    "serving_gateway": Option(
        description="Address by which clients reach Istio's gateway, where serving is seldon.",
        example="https://models.example.org",
    ),
    "serving_statistics": Option(
        description="Where that gateway's Envoys show their statistics as Prometheus text, http; a host name with several "
        "addresses, as a headless Service has, means all of them. With another `serving_statistics_by` than gateway: a "
        "Prometheus server, without /api/v1.",
        example="http://istio-gateway-statistics.istio-system:15090/stats/prometheus",
    ),
    "serving_statistics_by": Option(
        description="Whose counts a canary is judged by, where serving is seldon. One of: "
        f"{', '.join(STATISTICS)}. gateway is asked itself, the others' counts are asked of a Prometheus that scrapes them: the "
        "gateway's Envoys, Istio's telemetry, Seldon's executors, MLServer. Each sees something else: see the README of "
        "tradewind.serving.seldon.",
        default="gateway",
    ),
    "profiles": Option(
        description="Resource profiles that Dags name, as JSON: name to cpu (cores), memory_mb (MiB) and, as needed, "
        f"{', '.join(sorted(field.name for field in fields(Profile) if field.name not in ('cpu', 'memory_mb')))}; "
        f"tradewind.profiles says what each means. They come on top of the built-in ones, and replace those of the same name: "
        f"{', '.join(PROFILES)}.",
        example='{"gpu-a100": {"cpu": 8, "memory_mb": 65536, "gpus": 1, "node_selector": {"gpu": "a100"}}}',
    ),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the deployment says; each attribute is the option of that name in `OPTIONS`.

    Attributes:
        airflow_url: Airflow's own address, ``[api] base_url`` without a slash at the end; empty where it is not set.
    """

    home: Path
    store_uri: str
    data_root: str
    tracking_uri: str
    tracking_username: str | None = None
    tracking_password: str | None = field(default=None, repr=False)
    runtime: str = "local"
    serving: str = "local"
    namespace: str = "tradewind-steps"
    image: str = "tradewind/{image}:{version}"
    service_account: str = "tradewind-step"
    step_secret: str | None = None
    schedule_timeout_s: int = 3600
    startup_timeout_s: int = 900
    serving_namespace: str = "tradewind-serving"
    serving_gateway: str = ""
    serving_statistics: str = ""
    serving_statistics_by: str = "gateway"
    profiles: Mapping[str, Profile] = field(default_factory=lambda: dict(PROFILES))
    airflow_url: str = ""
    dags_folder: str = ""

    @classmethod
    @functools.cache
    def load(cls) -> Self:
        """Read Airflow's configuration, once in a process.

        Raises:
            SpecError: an option has a wrong value; names section, option, expected and got.
        """
        from airflow.configuration import conf  # here: steps and tests import this module without Airflow

        def get(option: str) -> str | None:
            return conf.get(SECTION, option, fallback=None)

        return cls.read(
            get,
            airflow_url=conf.get("api", "base_url", fallback="") or "",
            dags_folder=conf.get("core", "dags_folder", fallback="") or "",
        )

    @classmethod
    def read(cls, get: Callable[[str], str | None], *, airflow_url: str = "", dags_folder: str = "") -> Self:
        """Settings from a function that gives an option's text, or None where it is not set. An empty text is not set."""

        def text(option: str) -> str | None:
            return (get(option) or "").strip() or OPTIONS[option].default

        home = Path(text("home") or "").expanduser()
        if not home.is_absolute():
            raise _wrong("home", "an absolute path", str(home))
        at = {option: text(option) or "" for option in ("serving_gateway", "serving_statistics")}
        return cls(
            home=home,
            store_uri=_place("store_uri", text("store_uri") or str(home / "store")),
            data_root=_place("data_root", text("data_root") or str(home / "data")),
            tracking_uri=_web("tracking_uri", text("tracking_uri") or ""),
            tracking_username=text("tracking_username"),
            tracking_password=text("tracking_password"),
            runtime=_one_of("runtime", RUNTIMES, text("runtime") or ""),
            serving=_one_of("serving", SERVINGS, text("serving") or ""),
            namespace=text("namespace") or "",
            image=_image(text("image") or ""),
            service_account=text("service_account") or "",
            step_secret=text("step_secret"),
            schedule_timeout_s=_seconds("schedule_timeout_s", text("schedule_timeout_s") or ""),
            startup_timeout_s=_seconds("startup_timeout_s", text("startup_timeout_s") or ""),
            serving_namespace=text("serving_namespace") or "",
            **{option: _web(option, value) if value else "" for option, value in at.items()},
            serving_statistics_by=_one_of("serving_statistics_by", STATISTICS, text("serving_statistics_by") or ""),
            profiles={**PROFILES, **_profiles(text("profiles"))},
            airflow_url=airflow_url.rstrip("/"),
            dags_folder=dags_folder,
        )

    def profile(self, name: str) -> Profile:
        """The resource profile of that name; SpecError with those that exist where there is none."""
        if name not in self.profiles:
            raise SpecError(
                f"There is no resource profile {name!r}; there are: {', '.join(sorted(self.profiles))}. "
                f"More are added by [{SECTION}] profiles in Airflow's configuration"
            )
        return self.profiles[name]

    def data_uri(self, uri: str) -> str:
        """``uri`` as it is where it is a URI or an absolute path, else below ``data_root``.

        A leading ``~`` is not special: a Dag that means its user's home folder would mean another on each machine.
        """
        if not uri.strip():
            raise SpecError(f"A data URI is empty; expected a URI, an absolute path or a path below {self.data_root}")
        if "://" in uri or uri.startswith("/"):
            return uri
        return f"{self.data_root.rstrip('/')}/{uri}"


def _wrong(option: str, expected: str, got: object) -> SpecError:
    return SpecError(
        f"[{SECTION}] {option} in Airflow's configuration (AIRFLOW__{SECTION.upper()}__{option.upper()}): "
        f"expected {expected}, got {got!r}"
    )


def _place(option: str, value: str) -> str:
    """A URI as it is, a path with ``~`` resolved; relative paths would mean another folder in each of Airflow's processes."""
    if "://" in value:
        return value
    path = Path(value).expanduser()
    if not path.is_absolute():
        raise _wrong(option, "a URI or an absolute path", value)
    return str(path)


def _web(option: str, value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise _wrong(option, "an address that starts with http:// or https://", value)
    if "@" in urlsplit(value).netloc:  # it is shown: in links, specs and messages
        raise _wrong(
            option, "an address without a user, who is named by tracking_username and tracking_password", "one with a user"
        )
    return value.rstrip("/")


def on_this_machine(url: str) -> bool:
    """Whether an address is of loopback: a proxy that the environment names knows nothing of what listens there."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _one_of(option: str, allowed: tuple[str, ...], value: str) -> str:
    if value not in allowed:
        raise _wrong(option, f"one of: {', '.join(allowed)}", value)
    return value


def _seconds(option: str, value: str) -> int:
    if not value.isdigit() or not int(value):
        raise _wrong(option, "a whole number of seconds above 0", value)
    return int(value)


def _image(value: str) -> str:
    try:
        value.format(image="data", version="0")
    except (KeyError, IndexError, ValueError) as error:
        raise _wrong("image", "a reference with {image} and {version} in it", value) from error
    if "{image}" not in value:
        raise _wrong("image", "a reference with {image} in it: steps run in several images", value)
    return value


def _profiles(text: str | None) -> dict[str, Profile]:
    try:
        return read_profiles(text) if text else {}
    except SpecError as error:
        raise SpecError(
            f"[{SECTION}] profiles in Airflow's configuration (AIRFLOW__{SECTION.upper()}__PROFILES): {error}"
        ) from error
