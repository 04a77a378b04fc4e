"""Tables where they lie: a path on this machine, or a URI on S3 that the driver and all executors reach."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow.dataset as pads

from tradewind.filesystems import explained, is_local, open_uri
from tradewind.store import as_uri

Place = Path | str
_MAGIC = b"PAR1"


def dataset_at(place: Place) -> pads.Dataset:
    """The Parquet file or folder there, for pyarrow; only its footers are read."""
    fs, path = open_uri(as_uri(str(place)))
    if is_local(fs):
        return pads.dataset(path, format="parquet")
    with explained(str(place)):
        return pads.dataset(path, filesystem=fs, format="parquet")


def is_parquet(uri: str) -> bool:
    """Whether a remote URI is a Parquet file, or a folder, which holds nothing else."""
    fs, path = open_uri(uri)
    with explained(uri):
        if fs.isdir(path):
            return True
        return bool(fs.cat_file(path, start=0, end=len(_MAGIC)) == _MAGIC)


def spark_uri(place: Place) -> str:
    """The place as Spark is told it: its file system for S3 is Hadoop's ``s3a``."""
    uri = as_uri(str(place))
    return f"s3a://{uri.removeprefix('s3://')}" if uri.startswith("s3://") else uri


def s3a_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Hadoop's settings for S3, from AWS's variables. Logins are not among them: each process reads its own environment."""
    settings = {
        # One move per file: a try's folder is nobody else's, and its manifest is the commit.
        "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
        "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
        # Told within a minute that nobody answers; by default Hadoop asks for a quarter of an hour.
        "spark.hadoop.fs.s3a.attempts.maximum": "4",
        "spark.hadoop.fs.s3a.retry.limit": "4",
        "spark.hadoop.fs.s3a.connection.establish.timeout": "5s",
    }
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    if endpoint:
        settings |= {
            "spark.hadoop.fs.s3a.endpoint": endpoint,
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": str(endpoint.startswith("https:")).lower(),
        }
    region = environment.get("AWS_DEFAULT_REGION") or environment.get("AWS_REGION") or ("us-east-1" if endpoint else None)
    if region:
        settings["spark.hadoop.fs.s3a.endpoint.region"] = region
    if environment.get("AWS_WEB_IDENTITY_TOKEN_FILE"):  # a role of the pod's service account
        provider = "software.amazon.awssdk.auth.credentials.WebIdentityTokenFileCredentialsProvider"
        settings["spark.hadoop.fs.s3a.aws.credentials.provider"] = provider
    return settings
