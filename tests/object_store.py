"""A real S3 server for tests: versitygw on loopback, over a folder of the test's."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fsspec
import httpx
import pytest
from live import until

from tradewind.serving.local.process import free_port

ACCESS, SECRET = "tests", "tests-secret"
BUCKET = "tests"


@dataclass(frozen=True, kw_only=True)
class S3:
    """Where it listens, and the folder in which its buckets lie."""

    endpoint: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What whoever uses it needs in the environment."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def new_place(self) -> str:
        """A URI below which nothing is."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"

    def file(self, uri: str) -> Path:
        """The file in which an object's bytes lie."""
        return self.folder / uri.removeprefix("s3://")


@contextmanager
def s3_server(folder: Path, *, host: str = "127.0.0.1") -> Iterator[S3]:
    """The server with one bucket, for the time of the block."""
    program = shutil.which("versitygw")
    assert program, "no S3 server: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0, and have it on the PATH"
    port = free_port()
    (folder / BUCKET).mkdir(parents=True)
    environment = {**os.environ, "ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET}
    with (folder.parent / "versitygw.log").open("wb") as log:
        command = [program, "--port", f"{host}:{port}", "posix", str(folder)]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            server = S3(endpoint=f"http://{host}:{port}", folder=folder)
            until(lambda: process.poll() is not None or _answers(server.endpoint), within_s=30, what="the S3 server's answer")
            assert process.poll() is None, (folder.parent / "versitygw.log").read_text()
            yield server
        finally:
            process.kill()
            process.wait()


@contextmanager
def customer(environment: Mapping[str, str]) -> Iterator[None]:
    """This process and those that it starts go to the server of this environment, for the time of the block."""
    kept = fsspec.get_filesystem_class("s3")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        kept.clear_instance_cache()  # the ways to another server
        yield
    kept.clear_instance_cache()


def _answers(endpoint: str) -> bool:
    try:
        return httpx.get(endpoint, trust_env=False).status_code in (400, 403)
    except httpx.HTTPError:
        return False
