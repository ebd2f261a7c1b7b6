"""Compares the files of a folder of shards with the manifest; each is hashed once a change.

The inode, size and times of change of hashed files are recorded beside the folder, in
`<folder>.checked.json`. `verify_shards` hashes everything regardless.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import ShardEntry
from pipeline.storage.atomic import write_json
from pipeline.storage.digest import sha256_file
from pipeline.storage.locks import lock_open_file

_CURE = "write the shards anew with `dvc repro --force shard`"
# A file that changed just now may change again under the same time stamp.
_SETTLED_NS = 2 * 10**9
_MAX_THREADS = 8


class CheckedFiles:
    """The files of one folder of shards; processes of one machine share the record."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._record = folder.with_name(folder.name + ".checked.json")

    def check(self, entries: Sequence[ShardEntry], hashes: bool) -> None:
        """Compares all sizes, and with `hashes` each SHA-256 that is not recorded as checked.

        Raises UserError naming the first file that is missing or damaged, and the cure.
        """
        states = {entry.file: self._state(entry) for entry in entries}
        if not hashes or self._unchecked(entries, states) == []:
            return
        with self._lock():  # eight processes of a node hash once, not eight times
            unchecked = self._unchecked(entries, states)
            with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as threads:
                for _ in threads.map(self._check_hash, unchecked):
                    pass
            self._write_record(entries, states)

    def _state(self, entry: ShardEntry) -> list[int]:
        path = self._folder / entry.file
        try:
            found = path.stat()
        except FileNotFoundError:
            raise UserError(f"{path} is missing; make it with `dvc repro shard`") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); {_CURE}") from None
        if found.st_size != entry.bytes:
            raise UserError(f"{path} has {found.st_size} bytes, not {entry.bytes}; {_CURE}")
        return [found.st_ino, found.st_mtime_ns, found.st_ctime_ns]

    def _unchecked(
        self, entries: Sequence[ShardEntry], states: dict[str, list[int]]
    ) -> list[ShardEntry]:
        known = self._read_record()
        return [e for e in entries if known.get(e.file) != [e.sha256, *states[e.file]]]

    def _check_hash(self, entry: ShardEntry) -> None:
        path = self._folder / entry.file
        try:
            intact = sha256_file(path) == entry.sha256
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); {_CURE}") from None
        if not intact:
            raise UserError(f"{path} is damaged: its SHA-256 is not the manifest's; {_CURE}")

    def _read_record(self) -> dict[str, list[Any]]:
        try:
            content = json.loads(self._record.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write_record(self, entries: Sequence[ShardEntry], states: dict[str, list[int]]) -> None:
        settled = time.time_ns() - _SETTLED_NS
        known = {
            entry.file: [entry.sha256, *states[entry.file]]
            for entry in entries
            if max(states[entry.file][1:]) < settled
        }
        with suppress(OSError):  # a read-only folder: everything is hashed again next time
            write_json(self._record, self._read_record() | known)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # not every network file system locks
                lock_open_file(descriptor, wait=True)
            yield
        finally:
            os.close(descriptor)
