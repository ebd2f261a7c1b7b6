"""Whether the files of a folder of shards are what the manifest says; hashed once a change.

What was hashed is remembered beside the folder, in `<folder>.checked.json`: the file's inode, size
and times of change. To hash everything regardless is what `verify_shards` does.
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

_MEND = "write the shards anew with `dvc repro --force shard`"
# A file that changed just now may change again under the same time stamp.
_SETTLED_NS = 2 * 10**9
_MAX_THREADS = 8


class CheckedFiles:
    """The files of one folder of shards; processes of one machine share what they remember."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._memory = folder.with_name(folder.name + ".checked.json")

    def check(self, entries: Sequence[ShardEntry], hashes: bool) -> None:
        """Compares all sizes, and SHA-256 where `hashes` and not remembered.

        Raises UserError naming the first file that is missing or damaged, and the cure.
        """
        states = {entry.file: self._state(entry) for entry in entries}
        if not hashes or self._unknown(entries, states) == []:
            return
        with self._one_at_a_time():  # eight processes of a node hash once, not eight times
            unknown = self._unknown(entries, states)
            with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as threads:
                for _ in threads.map(self._check_hash, unknown):
                    pass
            self._remember(entries, states)

    def _state(self, entry: ShardEntry) -> list[int]:
        path = self._folder / entry.file
        try:
            found = path.stat()
        except FileNotFoundError:
            raise UserError(f"{path} is missing; make it with `dvc repro shard`") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); {_MEND}") from None
        if found.st_size != entry.bytes:
            raise UserError(f"{path} has {found.st_size} bytes, not {entry.bytes}; {_MEND}")
        return [found.st_ino, found.st_mtime_ns, found.st_ctime_ns]

    def _unknown(
        self, entries: Sequence[ShardEntry], states: dict[str, list[int]]
    ) -> list[ShardEntry]:
        known = self._remembered()
        return [e for e in entries if known.get(e.file) != [e.sha256, *states[e.file]]]

    def _check_hash(self, entry: ShardEntry) -> None:
        path = self._folder / entry.file
        try:
            sound = sha256_file(path) == entry.sha256
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); {_MEND}") from None
        if not sound:
            raise UserError(f"{path} is damaged: its SHA-256 is not the manifest's; {_MEND}")

    def _remembered(self) -> dict[str, list[Any]]:
        try:
            content = json.loads(self._memory.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    def _remember(self, entries: Sequence[ShardEntry], states: dict[str, list[int]]) -> None:
        settled = time.time_ns() - _SETTLED_NS
        known = {
            entry.file: [entry.sha256, *states[entry.file]]
            for entry in entries
            if max(states[entry.file][1:]) < settled
        }
        with suppress(OSError):  # a read-only place: everything is hashed again next time
            write_json(self._memory, self._remembered() | known)

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # not every network file system locks
                lock_open_file(descriptor, wait=True)
            yield
        finally:
            os.close(descriptor)
