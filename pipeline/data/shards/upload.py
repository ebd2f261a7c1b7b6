"""Uploads a folder of shards to S3; an interrupted upload is resumed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import MANIFEST_FILE, ShardEntry, read_manifest
from pipeline.data.shards.streaming import fetch_manifest
from pipeline.data.shards.verify import CheckedFiles
from pipeline.storage.s3 import S3Folder

_NUM_THREADS = 4


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """Result of an upload."""

    num_sent: int
    """Shards that were sent."""
    num_present: int
    """Shards that were there before, with the same digest."""
    bytes_sent: int


def open_destination(address: str) -> S3Folder:
    """The folder at `s3://bucket/prefix`, listed once so that errors come before the ingest.

    Raises UserError for a malformed address, a missing bucket and one that cannot be read.
    """
    remote = S3Folder(address)
    next(iter(remote.list()), None)
    return remote


def upload_shards(folder: Path, remote: S3Folder) -> Uploaded:
    """Uploads what is not there with the same digest: first the shards, last the manifest.

    Every file is compared with the manifest's SHA-256 before it is sent, and every object after
    it: a data set at `remote` is complete or has no manifest. Raises UserError where another data
    set is there, for shards that are missing or damaged, and what S3Folder raises.
    """
    manifest = read_manifest(folder)
    entries = [entry for split in manifest.splits.values() for entry in split.shards]
    CheckedFiles(folder).check(entries, hashes=False)
    if remote.head(MANIFEST_FILE) is not None:
        present = fetch_manifest(remote)
        if present.digest != manifest.digest:
            raise UserError(
                f"{remote.address} holds another data set ({present.name!r}, digest "
                f"{present.digest[:12]}); choose another address, or delete that one first"
            )

    def send(entry: ShardEntry) -> bool:
        return remote.upload(folder / entry.file, entry.file, entry.sha256)

    threads = ThreadPoolExecutor(_NUM_THREADS)
    try:
        sent = list(threads.map(send, entries))
    finally:
        threads.shutdown(cancel_futures=True)
    remote.upload(folder / MANIFEST_FILE, MANIFEST_FILE)
    sizes = [entry.bytes for entry, was_sent in zip(entries, sent, strict=True) if was_sent]
    return Uploaded(
        num_sent=len(sizes), num_present=len(entries) - len(sizes), bytes_sent=sum(sizes)
    )
