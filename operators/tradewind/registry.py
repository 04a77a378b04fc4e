"""The model registry: MLflow over its REST interface.

Importing mlflow costs a task one to two seconds; these few calls need none of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from tradewind.contract import ArtifactRef
from tradewind.errors import RuntimeUnavailable, SpecError, told
from tradewind.release_log import ReleaseLog, has_words, likes
from tradewind.settings import Settings, on_this_machine

CHAMPION = "champion"
CHALLENGER = "challenger"
DAG_TAG = "tradewind.dag_id"
RUN_TAG = "tradewind.run_id"
TRAINED_TAG = "tradewind.model"
DATA_END_TAG = "tradewind.data_end"
GATE_TAG = "tradewind.gate"
_NUMBER = re.compile(r"(?:v|version)?\s*(\d{1,9})", re.IGNORECASE)  # of a version, as a person writes it
_HELD_TAGS = {"tradewind.model_uri", TRAINED_TAG, GATE_TAG}
_NOT_FOUND = "RESOURCE_DOES_NOT_EXIST"
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_SUBJECTS = {"name": "name", f"tags.`{RUN_TAG}`": "run"}  # what of a version is searched: for MLflow, and in a page's name
_LAST = 25  # versions, which name the models of a Dag


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version of a registered model; ``tags`` carry its lineage.

    Attributes:
        created: when it was registered; milliseconds since the epoch, 0 where that is not known.
    """

    name: str
    version: str
    tags: dict[str, str]
    created: int = 0

    @classmethod
    def from_response(cls, data: dict[str, Any]) -> Self:
        tags = {tag["key"]: tag["value"] for tag in data.get("tags", [])}
        return cls(name=data["name"], version=data["version"], tags=tags, created=int(data.get("creation_timestamp") or 0))


def _matches(version: ModelVersion, search: str) -> str:
    """What of a version has all words of a search in it: its ``name``, else its ``run``, else nothing."""
    texts = {"name": version.name, "run": version.tags.get(RUN_TAG, "")}
    return next((where for where, text in texts.items() if has_words(text, search)), "")


def model_tags(model: ArtifactRef) -> dict[str, str]:
    """The tags that say where in the store a version's model lies; `model_of` reads them."""
    return {"tradewind.model_uri": model.uri, "tradewind.model_sha256": model.sha256, "tradewind.model_size": str(model.size)}


def lineage_tags(*, dag_id: str, run_id: str, trained: str, gate: str, data_end: str) -> dict[str, str]:
    """The tags that say where a version comes from: Dag, run, the manifests of its training and its gate, and its data's end."""
    return {DAG_TAG: dag_id, RUN_TAG: run_id, TRAINED_TAG: trained, GATE_TAG: gate, DATA_END_TAG: data_end}


def model_of(version: ModelVersion) -> ArtifactRef:
    """The model of a version, in the store.

    Raises:
        SpecError: the version was not registered by this pack, so nothing says where its model is.
    """
    try:
        return ArtifactRef(
            uri=version.tags["tradewind.model_uri"],
            sha256=version.tags["tradewind.model_sha256"],
            size=int(version.tags["tradewind.model_size"]),
            kind="model",
        )
    except KeyError as error:
        raise SpecError(
            f"Version {version.version} of {version.name} has no tag {error}: it was not registered by RegisterModelOperator. "
            f"Give the alias to a version that was, or remove it"
        ) from error


class Registry:
    """Versions, aliases and tags at one MLflow server.

    Args:
        tracking_uri: ``http(s)://host:port``.
        auth: user and password, where the server wants them.
        timeout_s: seconds that one request may take.
    """

    def __init__(self, tracking_uri: str, *, auth: tuple[str, str] | None = None, timeout_s: float = 30) -> None:
        self.tracking_uri = tracking_uri.rstrip("/")
        # Reading the certificates takes a task 40 ms: only where there is something to verify.
        secure = self.tracking_uri.startswith("https:")
        self._client = httpx.Client(
            base_url=f"{self.tracking_uri}/api/2.0/mlflow/", timeout=timeout_s, auth=auth, verify=secure,
            trust_env=not on_this_machine(self.tracking_uri),
        )  # fmt: skip
        self.log = ReleaseLog(self._call)

    @classmethod
    def of(cls, settings: Settings, *, timeout_s: float = 30) -> Self:
        """The registry that the settings name."""
        user = settings.tracking_username
        auth = (user, settings.tracking_password or "") if user else None
        return cls(settings.tracking_uri, auth=auth, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None) -> None:
        self._client.close()

    def run_exists(self, run_id: str) -> bool:
        """True where the training run is there and not deleted."""
        found = self._call("GET", "runs/get", {"run_id": run_id}, missing=_NOT_FOUND)
        return bool(found) and found["run"]["info"]["lifecycle_stage"] == "active"

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        found = self._call(
            "GET", "registered-models/alias", {"name": name, "alias": alias}, missing=(_NOT_FOUND, "INVALID_PARAMETER_VALUE")
        )
        return ModelVersion.from_response(found["model_version"]) if found else None

    def version(self, name: str, version: str) -> ModelVersion:
        """SpecError where there is no such version."""
        return ModelVersion.from_response(
            self._call("GET", "model-versions/get", {"name": name, "version": version})["model_version"]
        )

    def promote(self, name: str, version: str) -> None:
        """Make a version the champion; a challenger no more, if it was. The champion's alias is set last: once it is, no
        error can make the caller believe that it is not."""
        challenger = self.by_alias(name, CHALLENGER)
        if challenger and challenger.version == version:
            self._call("DELETE", "registered-models/alias", {"name": name, "alias": CHALLENGER}, missing=_NOT_FOUND)
        self.set_alias(name, CHAMPION, version)

    def withdraw(self, name: str) -> None:
        """No version is the champion any more."""
        self._call("DELETE", "registered-models/alias", {"name": name, "alias": CHAMPION}, missing=_NOT_FOUND)

    def by_run(self, name: str, run_id: str) -> ModelVersion | None:
        """The version of a model that a training run became, if it was registered; of several the first."""
        # By the run alone: MLflow's filters know no escape for a quote in a name.
        found = self._call("GET", "model-versions/search", {"filter": f"run_id='{run_id}'", "max_results": 1000})
        versions = [v for v in found.get("model_versions", []) if v["name"] == name]
        return ModelVersion.from_response(min(versions, key=lambda v: int(v["version"]))) if versions else None

    def of_dag(self, dag_id: str, *, limit: int, page: str = "", search: str = "") -> tuple[list[ModelVersion], str]:
        """Versions that a Dag's runs registered, the newest first, and the next page's name; empty at the end.

        Args:
            dag_id: Airflow lets no quote into one.
            page: as the call before gave it, with the same ``search``.
            search: a version's number or alias, whose versions come first; or words of a model's name or a run's id.
        """
        if not search.split():
            return self._versions(dag_id, limit=limit, page=page)
        first = self._asked_for(dag_id, search)
        found = [] if page else list(first.values())
        stage, _, token = page.partition(" ")
        # MLflow knows no OR: those whose model has such a name, and then the others that a run of such an id registered.
        for subject, stands in _SUBJECTS.items():
            if stage not in ("", stands):
                continue
            stage, more = "", True
            while more and len(found) < limit:
                got, token = self._versions(dag_id, limit=limit - len(found), page=token, where=likes(subject, search))
                found += [v for v in got if (v.name, v.version) not in first and _matches(v, search) == stands]
                more = bool(token)
            if more:
                return found, f"{stands} {token}"
        return found, ""

    def _asked_for(self, dag_id: str, search: str) -> dict[tuple[str, str], ModelVersion]:
        """The versions that are meant by a number or an alias, or the beginning of one."""
        found: list[ModelVersion] = []
        if number := _NUMBER.fullmatch(search.strip()):
            found += self._versions(dag_id, limit=_LAST, where=[f"version_number = {number[1]}"])[0]
        if aliases := [alias for alias in (CHAMPION, CHALLENGER) if alias.startswith(search.strip().lower())]:
            asked = [self.by_alias(name, alias) for name in self.models_of(dag_id) for alias in aliases]
            found += [version for version in asked if version and version.tags.get(DAG_TAG) == dag_id]
        return {(version.name, version.version): version for version in found}

    def models_of(self, dag_id: str) -> list[str]:
        """The names of the models that the last versions of a Dag's runs belong to."""
        return sorted({version.name for version in self._versions(dag_id, limit=_LAST)[0]})

    def _versions(self, dag_id: str, *, limit: int, page: str = "", where: Iterable[str] = ()) -> tuple[list[ModelVersion], str]:
        asked = {
            "filter": " AND ".join([f"tags.`{DAG_TAG}` = '{dag_id}'", *where]),
            "max_results": limit,
            "order_by": ["creation_timestamp DESC", "version_number DESC"],
        }
        found = self._call("GET", "model-versions/search", {**asked, **({"page_token": page} if page else {})})
        return [ModelVersion.from_response(v) for v in found.get("model_versions", [])], found.get("next_page_token") or ""

    def aliases(self, name: str) -> dict[str, str]:
        """The versions that have our aliases, by alias. (The whole model, asked at once, has its release records with it.)"""
        found = {alias: self.by_alias(name, alias) for alias in (CHAMPION, CHALLENGER)}
        return {alias: version.version for alias, version in found.items() if version}

    def held_uris(self) -> set[str]:
        """What registered versions refer to in the store: their models and the manifests of their lineage."""
        found: set[str] = set()
        token: str | None = ""
        while token is not None:
            page = self._call("GET", "model-versions/search", {"max_results": 1000, **({"page_token": token} if token else {})})
            for version in page.get("model_versions", []):
                found.update(tag["value"] for tag in version.get("tags", []) if tag["key"] in _HELD_TAGS)
            token = page.get("next_page_token") or None
        return found

    def register(self, name: str, *, model_id: str, run_id: str, tags: dict[str, str]) -> tuple[ModelVersion, bool]:
        """The version of the model that this training run became, and whether it was registered only now.

        Two that register the same at once both get the first one's version: the other is removed again.
        """
        if there := self.by_run(name, run_id):
            return there, False
        self._call("POST", "registered-models/create", {"name": name}, missing=_EXISTS)
        created = self._call(
            "POST",
            "model-versions/create",
            {
                "name": name,
                "source": f"models:/{model_id}",
                "model_id": model_id,
                "run_id": run_id,
                "tags": [{"key": key, "value": value} for key, value in tags.items()],
            },
        )
        version = ModelVersion.from_response(created["model_version"])
        first = self.by_run(name, run_id)
        if first and first.version != version.version:
            self._call("DELETE", "model-versions/delete", {"name": name, "version": version.version}, missing=_NOT_FOUND)
            return first, False
        return version, True

    def note_release(self, name: str, key: str, record: dict[str, Any]) -> None:
        """Keep a release record, see `ReleaseLog.note`; the same key again replaces it."""
        asked = {"name": name, "version": record["version"]}
        version = self._call("GET", "model-versions/get", asked, missing=(_NOT_FOUND, "INVALID_PARAMETER_VALUE"))
        tags = ModelVersion.from_response(version["model_version"]).tags if version else {}
        self.log.note(name, key, record, dag_id=tags.get(DAG_TAG, ""))

    def releases(self, name: str) -> list[dict[str, Any]]:
        """The release records of a model, the latest first; none where there is no such model."""
        return list(self.log.each(name))

    def release(self, name: str, key: str) -> dict[str, Any] | None:
        """The release record that was kept under ``key``; None where there is none."""
        return self.log.of(name, key)

    def rolled_back(self, name: str, version: str) -> str | None:
        """Why a version was taken back the last time that it was to serve; None where it was not."""
        record = self.log.last(name, version)
        if record and record["version"] == version:
            return str(record["reason"]) if record["outcome"] == "rolled back" else None
        return str(record["why"]) if record else None

    def set_alias(self, name: str, alias: str, version: str) -> None:
        asked = {"name": name, "alias": alias, "version": version}
        try:
            self._call("POST", "registered-models/alias", asked)
        except SpecError:
            # Of two that set a new alias at once, MLflow refuses the second: it finds no row and may not insert another.
            self._call("POST", "registered-models/alias", asked)

    def server_version(self) -> str:
        """MLflow's version, as it tells; SpecError where something else answers."""
        response = self._answer("GET", f"{self.tracking_uri}/version", {})
        said = response.text.strip()[:200]
        if not response.is_success or not re.fullmatch(r"\d+\.\d+[\w.+-]*", said):
            raise SpecError(f"{self.tracking_uri}/version: expected MLflow's version, got {response.status_code} {said!r}")
        return said

    def try_out(self, name: str) -> None:
        """Make the experiment of release records, where it is not there; make a registered model of that name and remove it.
        What a login may do is only known by doing it."""
        self.log.make()
        self._call("POST", "registered-models/create", {"name": name})
        self._call("DELETE", "registered-models/delete", {"name": name})

    def _call(self, method: str, path: str, data: dict[str, Any], *, missing: str | tuple[str, ...] = ()) -> dict[str, Any]:
        """One request. An error whose code is in ``missing`` gives an empty answer.

        Raises:
            RuntimeUnavailable: no answer, or an error of the server's own.
            SpecError: MLflow refuses what was asked; in its words.
        """
        response = self._answer(method, path, data)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.is_success and isinstance(answer, dict):
            return answer
        said = answer if isinstance(answer, dict) else {"message": f"expected JSON, got {response.text[:200]!r}"}
        if said.get("error_code") in (missing if isinstance(missing, tuple) else (missing,)):
            return {}
        message = f"MLflow at {self.tracking_uri}, {path}: {response.status_code}, {said.get('message')}"
        transient = response.status_code >= 500 or response.status_code == httpx.codes.TOO_MANY_REQUESTS
        raise RuntimeUnavailable(message) if transient else SpecError(message)

    def _answer(self, method: str, path: str, data: dict[str, Any]) -> httpx.Response:
        try:
            query, body = (data, None) if method == "GET" else (None, data)
            return self._client.request(method, path, params=query, json=body)
        except httpx.HTTPError as error:
            raise RuntimeUnavailable(f"MLflow at {self.tracking_uri} does not answer: {told(error)}") from error
