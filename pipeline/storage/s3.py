"""A folder of S3's: files and small objects in and out, each checked against its SHA-256.

The digest stands in the object's metadata as `sha256`. S3 itself checks each upload against one in
the request.
"""

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.storage.atomic import atomic_write
from pipeline.storage.digest import sha256_file
from pipeline.storage.disk_space import explain_full_disk
from pipeline.storage.s3_address import S3Address, parse_s3_address
from pipeline.storage.s3_attempts import S3Limits, attempt
from pipeline.storage.s3_client import open_client
from pipeline.storage.s3_download import Download
from pipeline.storage.s3_errors import S3DamagedError, WrongBodyError
from pipeline.storage.s3_multipart import upload_parts

_ROOM = "free some or choose a folder on a larger disk"

T = TypeVar("T")


@dataclass(frozen=True)
class S3Object:
    """An object as S3 describes it."""

    name: str
    """Relative to the folder that was asked."""
    bytes: int
    sha256: str | None = None
    """From its metadata; None in a listing, and where it was not uploaded from here."""
    etag: str = field(default="", compare=False)
    """S3's own name of this content; empty in a listing."""


class S3Folder:
    """The objects below `s3://bucket/prefix`, by names relative to it; threads may share it.

    Every method raises UserError for what the user must mend (credentials, permission, no such
    bucket), S3UnavailableError when S3 failed in all attempts, and S3DamagedError for bytes that
    are not what their checksum says; all begin with what was done to which address.
    """

    def __init__(
        self, address: str | S3Address, limits: S3Limits | None = None, client: Any = None
    ) -> None:
        """Asks no server. Raises UserError for a malformed address and for boto3's settings."""
        self.address = parse_s3_address(address) if isinstance(address, str) else address
        self._limits = limits or S3Limits()
        self._client = client or open_client(self.address, self._limits)

    def folder(self, name: str) -> "S3Folder":
        """A folder in this one."""
        return S3Folder(self.address / name, self._limits, self._client)

    def upload(self, path: Path, name: str, sha256: str | None = None) -> bool:
        """Makes the object `name` of a file that nobody changes meanwhile; False: it was there.

        `sha256`, if given, is what the file should be; no object appears when it is not.
        """
        digest = sha256 or sha256_file(path)
        size = path.stat().st_size
        if self._holds(name, size, digest):
            return False
        what = f"uploading {self.address / name}"
        if size <= self._limits.part_bytes:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise S3DamagedError(f"{what}: {path} is not what its checksum says; write it anew")
            self._put(name, content, what)
        else:
            with path.open("rb") as file:
                upload_parts(self._client, self._location(name), file, digest, self._limits, what)
        if not self._holds(name, size, digest):
            raise S3DamagedError(
                f"{what}: another object is there afterwards; let one process at a time upload it"
            )
        return True

    def download(self, name: str, path: Path, sha256: str | None = None) -> None:
        """Makes the file of an object, whole or not at all.

        `sha256`, else the object's metadata, says what it should be; where neither does, its length
        alone is checked. A dropped connection is taken up where it broke. Raises FileNotFoundError.
        """
        what = f"downloading {self.address / name}"
        download = Download(self._client, self._location(name), sha256, what)
        size = self._attempt(download.open, what)
        with (
            explain_full_disk(path, size, _ROOM),
            atomic_write(path) as temporary,
            temporary.open("wb") as file,
        ):
            self._attempt(lambda: download.fetch(file), what)

    def put(self, name: str, content: bytes) -> None:
        """Makes, or replaces, a small object."""
        self._put(name, content, f"writing {self.address / name}")

    def get(self, name: str) -> bytes:
        """The content of a small object; raises FileNotFoundError."""

        def get() -> bytes:
            reply = self._client.get_object(**self._location(name))
            with closing(reply["Body"]) as body:
                content: bytes = body.read()
            expected = reply["Metadata"].get("sha256")
            if expected is not None and hashlib.sha256(content).hexdigest() != expected:
                raise WrongBodyError
            return content

        return self._attempt(get, f"reading {self.address / name}")

    def head(self, name: str) -> S3Object | None:
        """What S3 knows of an object; None where there is none."""
        try:
            reply = self._attempt(
                lambda: self._client.head_object(**self._location(name)),
                f"looking at {self.address / name}",
            )
        except FileNotFoundError:
            return None
        sha256 = reply["Metadata"].get("sha256")
        return S3Object(name, reply["ContentLength"], sha256, reply["ETag"])

    def list(self, prefix: str = "") -> Iterator[S3Object]:
        """The objects whose names begin with `prefix`, in the order of their names."""
        root = self.address.key("") + "/" if self.address.prefix else ""
        arguments = {"Bucket": self.address.bucket, "Prefix": root + prefix}
        while True:
            reply = self._attempt(
                lambda: self._client.list_objects_v2(**arguments), f"listing {self.address}"
            )
            for entry in reply.get("Contents", ()):
                yield S3Object(entry["Key"].removeprefix(root), entry["Size"])
            if not reply["IsTruncated"]:
                return
            arguments["ContinuationToken"] = reply["NextContinuationToken"]

    def delete(self, name: str) -> None:
        """Deletes an object; none there is no error."""
        self._attempt(
            lambda: self._client.delete_object(**self._location(name)),
            f"deleting {self.address / name}",
        )

    def _put(self, name: str, content: bytes, what: str) -> None:
        digest = hashlib.sha256(content)
        arguments = {
            **self._location(name),
            "Body": content,
            "Metadata": {"sha256": digest.hexdigest()},
            "ChecksumSHA256": base64.b64encode(digest.digest()).decode(),
        }
        self._attempt(lambda: self._client.put_object(**arguments), what)

    def _holds(self, name: str, size: int, digest: str) -> bool:
        return self.head(name) == S3Object(name, size, digest)

    def _location(self, name: str) -> dict[str, str]:
        return {"Bucket": self.address.bucket, "Key": self.address.key(name)}

    def _attempt(self, call: Callable[[], T], what: str) -> T:
        return attempt(call, what, self._limits)
