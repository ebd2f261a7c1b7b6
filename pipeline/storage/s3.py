"""A folder in S3: files and small objects in and out, each checked against its SHA-256.

The digest of the whole object is kept in its metadata as `sha256`. Transfers and retries are
boto3's own; S3 checks each upload, part by part, against a SHA-256 in the request.
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
from pipeline.storage.s3_client import S3Limits, open_client
from pipeline.storage.s3_errors import S3DamagedError, WrongBodyError, error_code, explain_errors

_FULL_DISK = "free some or choose a folder on a larger disk"

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

    Every method raises UserError for what the user must correct (credentials, permission, no such
    bucket), S3UnavailableError when S3 failed in all attempts, and S3DamagedError for bytes that
    do not match their checksum; each message begins with the operation and the address.
    """

    def __init__(
        self, address: str | S3Address, limits: S3Limits | None = None, client: Any = None
    ) -> None:
        """Sends no request. Raises UserError for a malformed address and for boto3's settings."""
        self.address = parse_s3_address(address) if isinstance(address, str) else address
        self._limits = limits or S3Limits()
        self._client = client or open_client(self.address, self._limits)

    def folder(self, name: str) -> "S3Folder":
        """A folder in this one."""
        return S3Folder(self.address / name, self._limits, self._client)

    def upload(
        self, path: Path, name: str, sha256: str | None = None, parallel: bool = True
    ) -> bool:
        """Uploads a file that must not change meanwhile; False: the object was there already.

        `sha256`, if given, is the expected digest; a file with another one is not uploaded.
        `parallel` sends the parts in threads, which the interpreter joins before it exits: not for
        a daemon thread that must not delay the end of the process.
        """
        what = f"uploading {self.address / name}"
        size = path.stat().st_size
        digest = sha256 or sha256_file(path)
        if self._holds(name, size, digest):
            return False
        if sha256 is not None and sha256_file(path) != sha256:
            raise S3DamagedError(f"{what}: {path} is not what its checksum says; write it anew")
        with explain_errors(what):
            try:
                self._client.upload_file(
                    str(path),
                    **self._location(name),
                    ExtraArgs={"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": digest}},
                    Config=self._transfer_config(parallel),
                )
            except Exception as error:
                # An earlier attempt, whose answer was lost, may have completed the object.
                if error_code(error) != "NoSuchUpload" or not self._holds(name, size, digest):
                    raise
        if not self._holds(name, size, digest):
            raise S3DamagedError(
                f"{what}: another object is there afterwards; let one process at a time upload it"
            )
        return True

    def download(
        self, name: str, path: Path, sha256: str | None = None, parallel: bool = True
    ) -> None:
        """Downloads an object into a file, whole or not at all; raises FileNotFoundError.

        `sha256`, else the object's metadata, is the expected digest; without either, the length
        alone is checked. `parallel` is as for `upload`.
        """
        what = f"downloading {self.address / name}"

        def fetch() -> None:
            reply = self._client.head_object(**self._location(name))
            size, stored = reply["ContentLength"], reply["Metadata"].get("sha256")
            if sha256 is not None and stored not in (None, sha256):
                raise S3DamagedError(f"{what}: the object is another than its checksum file says")
            with explain_full_disk(path, size, _FULL_DISK), atomic_write(path) as temporary:
                self._download_into(temporary, name, parallel)
                expected = sha256 or stored
                if temporary.stat().st_size != size or (
                    expected is not None and sha256_file(temporary) != expected
                ):
                    raise WrongBodyError

        self._fetch(fetch, what)

    def put(self, name: str, content: bytes) -> None:
        """Makes, or replaces, a small object."""
        digest = hashlib.sha256(content)
        with explain_errors(f"writing {self.address / name}"):
            self._client.put_object(
                **self._location(name),
                Body=content,
                Metadata={"sha256": digest.hexdigest()},
                ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
            )

    def get(self, name: str) -> bytes:
        """The content of a small object; raises FileNotFoundError."""
        from botocore import exceptions

        def fetch() -> bytes:
            reply = self._client.get_object(**self._location(name))
            try:
                with closing(reply["Body"]) as body:
                    content: bytes = body.read()
            except (
                exceptions.IncompleteReadError,
                exceptions.ReadTimeoutError,
                exceptions.ResponseStreamingError,
            ) as error:
                raise WrongBodyError from error
            expected = reply["Metadata"].get("sha256")
            if expected is not None and hashlib.sha256(content).hexdigest() != expected:
                raise WrongBodyError
            return content

        return self._fetch(fetch, f"reading {self.address / name}")

    def head(self, name: str) -> S3Object | None:
        """Size, digest and ETag of an object; None where there is none."""
        try:
            with explain_errors(f"looking at {self.address / name}"):
                reply = self._client.head_object(**self._location(name))
        except FileNotFoundError:
            return None
        sha256 = reply["Metadata"].get("sha256")
        return S3Object(name, reply["ContentLength"], sha256, reply["ETag"])

    def list(self, prefix: str = "") -> Iterator[S3Object]:
        """The objects whose names begin with `prefix`, in the order of their names."""
        root = self.address.key("") + "/" if self.address.prefix else ""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.address.bucket, Prefix=root + prefix
        )
        with explain_errors(f"listing {self.address}"):
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield S3Object(entry["Key"].removeprefix(root), entry["Size"])

    def delete(self, name: str) -> None:
        """Deletes an object; none there is no error."""
        with explain_errors(f"deleting {self.address / name}"):
            self._client.delete_object(**self._location(name))

    def _download_into(self, path: Path, name: str, parallel: bool) -> None:
        from s3transfer.exceptions import S3DownloadFailedError, S3ValidationError

        with path.open("wb") as file:  # `download_file` would leave a name of its own when killed
            try:
                self._client.download_fileobj(
                    **self._location(name), Fileobj=file, Config=self._transfer_config(parallel)
                )
            except (S3DownloadFailedError, S3ValidationError):  # replaced between two parts
                raise WrongBodyError from None

    def _fetch(self, fetch: Callable[[], T], what: str) -> T:
        """What `fetch` returns; repeated for a body that broke off or is not the object's."""
        with explain_errors(what):
            for _ in range(self._limits.attempts - 1):
                try:
                    return fetch()
                except WrongBodyError:
                    continue
            return fetch()

    def _holds(self, name: str, size: int, digest: str) -> bool:
        return self.head(name) == S3Object(name, size, digest)

    def _location(self, name: str) -> dict[str, str]:
        return {"Bucket": self.address.bucket, "Key": self.address.key(name)}

    def _transfer_config(self, parallel: bool) -> Any:
        from boto3.s3.transfer import TransferConfig

        return TransferConfig(
            multipart_threshold=self._limits.part_bytes + 1,
            multipart_chunksize=self._limits.part_bytes,
            max_concurrency=self._limits.num_threads,
            num_download_attempts=self._limits.attempts,
            use_threads=parallel,
            preferred_transfer_client="classic",  # AWS's C runtime ignores the settings above
        )
