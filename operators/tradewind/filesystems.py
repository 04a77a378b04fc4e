"""Where a URI leads: fsspec's file systems as the store wants them, and what they raise, in plain words.

The package of a backend is imported when a URI of its kind is opened: a store in a folder pays nothing for it. S3's
login, region and address come from the environment alone, by AWS's own names: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_DEFAULT_REGION``, ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL`` (or a role's, where a
pod has one).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from tradewind.errors import StoreError

_S3 = ("s3", "s3a")
# Long enough for a server that restarts while hours of work wait to be stored, and given up within a minute: Airflow's
# retries wait better than a process that holds its memory. Seconds; between attempts 0 to 15 in all.
S3_PATIENCE = {
    "connect_timeout": 3,
    "read_timeout": 10,
    "retries": {"mode": "standard", "total_max_attempts": 5},
}
_CONFLICT_WAITS = (0.1, 0.3, 1.0)  # seconds, while another writes the same object at the same time
_LOGIN = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
_UNKNOWN_KEY = "the access key is not known there (AWS_ACCESS_KEY_ID)"
# S3's error codes that nothing but a person's work will end, and what to say of them.
_FINAL = {
    "NoSuchBucket": "there is no bucket {bucket!r}",
    "InvalidBucketName": "{bucket!r} is no bucket's name: expected 3 to 63 small letters, digits, dots and hyphens",
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "XAdminUserNotFound": _UNKNOWN_KEY,  # versitygw's
    "SignatureDoesNotMatch": "the secret does not belong to the access key (AWS_SECRET_ACCESS_KEY)",
    "ExpiredToken": "the login has expired (AWS_SESSION_TOKEN)",
    "NotImplemented": "this server lacks what is asked of it, such as writing only where nothing is yet (If-None-Match): {said}",
}
_FORBIDDEN = f"this login may not do that here, or is wrong ({_LOGIN}): {{said}}"
_PASSING = ("SlowDown", "RequestTimeout", "OperationAborted", "ConditionalRequestConflict")
_UNANSWERED = {
    "ClientConnectorError",
    "ClientPayloadError",
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "EndpointConnectionError",
    "FSTimeoutError",
    "HTTPClientError",
    "IncompleteReadError",
    "ProxyConnectionError",
    "ReadTimeoutError",
    "ResponseParserError",
}
_NO_LOGIN = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}


def open_uri(uri: str) -> tuple[Any, str]:
    """The file system and the path on it that a URI or a plain path names. No listing is kept: others write meanwhile.

    Raises:
        StoreError: nothing here reads URIs of this kind.
    """
    kind = uri.partition("://")[0] if "://" in uri else "file"
    options: dict[str, Any] = {} if kind == "file" else {"use_listings_cache": False}
    if kind in _S3:
        options["config_kwargs"] = S3_PATIENCE
        for name in ("aiobotocore", "botocore"):  # they tell of each login and address that they find
            logging.getLogger(name).setLevel(logging.WARNING)
    try:
        fs, path = fsspec.core.url_to_fs(uri, **options)
    except (ImportError, ValueError) as error:
        raise StoreError(f"{uri}: nothing here reads {kind}:// ({error})", retryable=False) from error
    if kind in _S3:
        fs.retries = 1  # beside those of botocore, which they would multiply
    return fs, path


def is_local(fs: Any) -> bool:
    return isinstance(fs, LocalFileSystem)


def read(fs: Any, path: str) -> bytes:
    """A file's bytes; FileNotFoundError where there is none."""
    at_once = {"max_concurrency": 1} if "s3" in fs.protocol else {}  # else s3fs asks for the size first
    data: bytes = fs.cat_file(path, **at_once)
    return data


def create(fs: Any, path: str, data: bytes) -> bool:
    """Write an object where there is none; False where there is one. Of many at once one gets True."""
    for wait in (*_CONFLICT_WAITS, None):
        try:
            fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            code = _code(error)
            if code in ("PreconditionFailed", "412"):
                return False
            if wait is None or code not in ("ConditionalRequestConflict", "409"):
                raise
            time.sleep(wait)
        else:
            return True
    raise AssertionError("the last wait is None")


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what a file system raises into a StoreError that names the place; a missing file stays FileNotFoundError."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        if uri.startswith(tuple(f"{kind}://" for kind in _S3)):
            if isinstance(error, FileNotFoundError) and _code(error) != "NoSuchBucket":
                raise
            raise _of_s3(uri, error) from error
        if not isinstance(error, OSError) or isinstance(error, FileNotFoundError):
            raise
        raise StoreError(f"{uri}: {error.strerror or error}") from error


def _of_s3(uri: str, error: Exception) -> StoreError:
    bucket = uri.split("/")[2]
    (code, status), name, said = _answer(error), type(error).__name__, str(getattr(error, "strerror", None) or error)
    at = f"{uri}: S3 at {_endpoint()}"
    if code in _FINAL:
        return StoreError(f"{at}: {_FINAL[code].format(bucket=bucket, said=said)}", retryable=False)
    if status in (401, 403):
        return StoreError(f"{at}: {_FORBIDDEN.format(said=said)}", retryable=False)
    if code:
        return StoreError(f"{at} answers {code} for bucket {bucket!r}: {said}", retryable=status >= 500 or code in _PASSING)
    if name in _UNANSWERED:
        return StoreError(f"{at} does not answer: {said}")
    if name in _NO_LOGIN:
        return StoreError(f"{at}: the environment holds no login ({_LOGIN}): {said}", retryable=False)
    if name == "ParamValidationError":
        return StoreError(f"{at}: {_FINAL['InvalidBucketName'].format(bucket=bucket)}: {said}", retryable=False)
    # An OSError without an answer is of this machine's own disk, when a file is fetched or sent.
    return StoreError(f"{at}: {said}", retryable=isinstance(error, OSError))


def _endpoint() -> str:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS (no AWS_ENDPOINT_URL is set)"


def _code(error: BaseException) -> str:
    return _answer(error)[0]


def _answer(error: BaseException | None) -> tuple[str, int]:
    """S3's code and HTTP status, from where s3fs leaves them: at the error or at its cause; ("", 0) where it did not answer."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict) and "Error" in response:
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0
            return str(response["Error"].get("Code") or status), int(status)
        error = error.__cause__ or error.__context__
    return "", 0
