"""Folders of the faulty S3 server for tests that are not about time: a busy machine is no fault."""

import functools
from typing import Any

from pipeline.storage.s3 import S3Folder
from pipeline.storage.s3_address import parse_s3_address
from pipeline.storage.s3_client import S3Limits, open_client
from tests.support.s3_server import PART, FaultyS3

PATIENT = S3Limits(connect_s=10, read_s=30, attempts=4, part_bytes=PART)


def remote_folder(server: FaultyS3, bucket: str) -> S3Folder:
    """A folder in an empty bucket of that name, with all faults ended."""
    client = _client(server.url)
    server.heal()
    client.create_bucket(Bucket=bucket)
    server.heal()
    return S3Folder(parse_s3_address(f"s3://{bucket}/a/b"), PATIENT, client)


@functools.cache
def _client(url: str) -> Any:
    return open_client(parse_s3_address("s3://any-bucket"), PATIENT)
