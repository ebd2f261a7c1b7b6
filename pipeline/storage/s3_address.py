"""Addresses of the form `s3://bucket/prefix`."""

import re
from dataclasses import dataclass

from pipeline.core.errors import UserError

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MAX_KEY_BYTES = 1024


@dataclass(frozen=True)
class S3Address:
    """A bucket or a folder in it."""

    bucket: str
    prefix: str
    """Without slashes at its ends; empty: the whole bucket."""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"

    def __truediv__(self, name: str) -> "S3Address":
        return S3Address(self.bucket, self.key(name.rstrip("/")))

    def key(self, name: str) -> str:
        """The key of an object whose name is relative to this folder; empty: the folder's."""
        return f"{self.prefix}/{name}" if self.prefix and name else self.prefix or name


def parse_s3_address(text: str) -> S3Address:
    """Parses an address; raises UserError for a malformed one, without repeating credentials."""
    if not text.startswith("s3://"):
        raise UserError(f"{text!r} is not an S3 address; it must look like s3://bucket/prefix")
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    if "@" in bucket:
        raise UserError(
            f"the S3 address of bucket {bucket.rpartition('@')[2]!r} holds credentials; leave them "
            "to the environment or to ~/.aws and write s3://bucket/prefix"
        )
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise UserError(
            f"{text!r} names no possible bucket: {bucket!r} must be 3 to 63 lower-case letters, "
            "digits, dots and hyphens, with a letter or digit at both ends"
        )
    prefix = prefix.removesuffix("/")
    parts = prefix.split("/")
    if prefix and any(part in ("", ".", "..") for part in parts):
        raise UserError(f"{text!r} has an empty, `.` or `..` part; write s3://bucket/some/prefix")
    if not prefix.isprintable() or len(prefix.encode()) > _MAX_KEY_BYTES:
        raise UserError(
            f"{text!r} has a prefix that S3 does not take: at most {_MAX_KEY_BYTES} bytes, "
            "printable characters alone"
        )
    return S3Address(bucket, prefix)
