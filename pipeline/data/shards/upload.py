"""Uploads a folder of shards to S3; where an earlier upload broke off it goes on."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.data.shards.checked_files import CheckedFiles
from pipeline.data.shards.manifest import MANIFEST_FILE, ShardEntry, read_manifest
from pipeline.data.shards.streaming import fetch_manifest
from pipeline.storage.s3 import S3Folder

_NUM_THREADS = 4


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """What an upload did."""

    num_sent: int
    """Shards that were sent."""
    num_there: int
    """Shards that were there before, with the same hash."""
    bytes_sent: int


def open_destination(address: str) -> S3Folder:
    """The folder at `s3://bucket/prefix`, looked at: before a long ingest, not after it.

    Raises UserError for an address of another form, a missing bucket and one that must not be read.
    """
    remote = S3Folder(address)
    next(iter(remote.list()), None)
    return remote


def upload_shards(folder: Path, remote: S3Folder) -> Uploaded:
    """Sends what is not there with the same hash: first the shards, last the manifest.

    Every object is compared with the manifest's SHA-256 on the way and looked at afterwards, so
    that a data set at `remote` is whole or has no manifest. Raises UserError where another data
    set is there, for shards that are missing or damaged, and what S3Folder raises.
    """
    manifest = read_manifest(folder)
    entries = [entry for split in manifest.splits.values() for entry in split.shards]
    CheckedFiles(folder).check(entries, hashes=False)
    if remote.head(MANIFEST_FILE) is not None:
        there = fetch_manifest(remote)
        if there.digest != manifest.digest:
            raise UserError(
                f"{remote.address} holds another data set ({there.name!r}, digest "
                f"{there.digest[:12]}); choose another address, or delete that one first"
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
    return Uploaded(num_sent=len(sizes), num_there=len(entries) - len(sizes), bytes_sent=sum(sizes))
