"""Maps the shards of a split on first use, or ahead of it on threads, and closes surplus ones."""

import mmap
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import psutil

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import Split
from pipeline.data.shards.shard_file import Shard, damaged, open_shard

_MAX_OPEN = 24_000  # Linux grants a process 65,530 mappings by default
_CLOSING_S = 1.0


class ShardFiles(Protocol):
    """Source of the files of a split's shards; safe to use from several threads."""

    capacity: int | None
    """Largest number of shards held at a time; None: all."""
    capacity_text: str
    """The capacity for an error message, with the cure: `the cache x holds 7; raise y`."""
    num_threads: int
    """Shards worth fetching at a time."""

    def fetch(self, index: int) -> Path:
        """Returns a verified local copy of a shard's file, which stays until it is released."""

    def release(self, index: int) -> None:
        """Ends one `fetch`."""


class OpenShards:
    """The shards of one split, each mapped while it is open; safe to use from several threads."""

    def __init__(
        self, files: ShardFiles, split: Split, shape: tuple[int, int, int], num_classes: int
    ) -> None:
        self._files = files
        self._entries = split.shards
        self._shape = shape
        self._num_classes = num_classes
        count = len(split.shards)
        self.capacity = max(1, min(count, _MAX_OPEN, files.capacity or count))
        """Largest number of shards open at a time."""
        self.is_bounded = self.capacity < count or files.capacity is not None
        """Whether shards are closed again; otherwise each stays open once it is."""
        self._shards: OrderedDict[int, Shard] = OrderedDict()  # least recently used first
        self._opening: set[int] = set()
        self._in_use: Counter[int] = Counter()
        self._wanted: dict[int, None] = {}
        self._queue: deque[int] = deque()
        self._num_threads = 0
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        # Reading ahead more than fits the page cache would evict what was read before.
        self._memory_bytes = 0.8 * psutil.virtual_memory().available
        self._reads_ahead = False

    @contextmanager
    def use(self, indices: Sequence[int]) -> Iterator[Mapping[int, Shard]]:
        """Yields these shards, at most `capacity`, opened where they are not; open meanwhile.

        Raises UserError for a shard that is damaged or cannot be fetched.
        """
        if not self.is_bounded:
            for index in indices:
                if index not in self._shards:
                    self._ensure_open(index)
            yield self._shards
            return
        with self._turn:  # two threads that each hold half of what they need would deadlock
            with self._changed:
                self._in_use.update(indices)
            try:
                for index in indices:
                    self._ensure_open(index)
                yield self._shards
            finally:
                with self._changed:
                    self._in_use -= Counter(indices)
                    self._close_surplus()
                    self._changed.notify_all()

    def check_capacity(self, num_shards: int) -> None:
        """Raises UserError when `num_shards` cannot be open at a time."""
        if num_shards > self.capacity:
            raise UserError(
                f"the order mixes {num_shards} shards at a time, but {self._files.capacity_text}, "
                "or mix fewer with train.order: block and a smaller train.order_window"
            )

    def prefetch(self, indices: Sequence[int]) -> None:
        """Opens shards on threads, in this order, and keeps them open until the next call.

        Shards beyond the capacity are left out.
        """
        if len(self._shards) == len(self._entries):
            return
        with self._changed:
            self._wanted = dict.fromkeys(indices[: self.capacity])
            size = sum(self._entries[index].bytes for index in self._wanted)
            self._reads_ahead = size <= self._memory_bytes
            self._queue = deque(index for index in self._wanted if index not in self._shards)
            self._changed.notify_all()
            while self._num_threads < min(len(self._queue), self._files.num_threads):
                self._num_threads += 1
                threading.Thread(target=self._work, name="open-shards", daemon=True).start()

    def stop(self) -> None:
        """Ends prefetching; waits a moment for the threads, but not for a slow download."""
        with self._changed:
            self._wanted = {}
            self._queue.clear()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._num_threads == 0, _CLOSING_S)
            self._close_surplus()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._queue:
                    self._num_threads -= 1
                    self._changed.notify_all()
                    return
                index = self._queue.popleft()
            with suppress(Exception):  # `use` opens the shard again and raises the error
                self._ensure_open(index, read=self._reads_ahead)

    def _ensure_open(self, index: int, read: bool = False) -> None:
        """Opens the shard unless it is open, or neither in use nor wanted any more."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: index not in self._opening)
                if index in self._shards:
                    self._shards.move_to_end(index)
                    return
                in_use = index in self._in_use or not self.is_bounded
                if not in_use and index not in self._wanted:
                    return
                self._close_surplus(num_more=1)
                if in_use and self._is_full():
                    self._close_one(())
                if not self._is_full():
                    break
                self._changed.wait()
            self._opening.add(index)
        shard = None
        try:
            shard = self._open(index, read)
        finally:
            with self._changed:
                self._opening.discard(index)
                if shard is not None:
                    self._shards[index] = shard
                self._changed.notify_all()

    def _open(self, index: int, read: bool) -> Shard:
        path = self._files.fetch(index)
        try:
            shard = open_shard(path, self._entries[index].rows, self._shape)
            if shard.labels.min() < 0 or shard.labels.max() >= self._num_classes:
                raise damaged(path, "it has unknown labels")
        except BaseException:
            self._files.release(index)
            raise
        if read:
            # Once from beginning to end: rows read at random from a cold disk wait one by one.
            shard.images.reshape(-1)[:: mmap.PAGESIZE].max()
        return shard

    def _is_full(self) -> bool:
        return len(self._shards) + len(self._opening) >= self.capacity

    def _close_surplus(self, num_more: int = 0) -> None:
        """Closes all but the wanted shards, or the last one: other readers share the files."""
        most = max(1, len(self._wanted)) - num_more
        while self.is_bounded and len(self._shards) + len(self._opening) > most:
            if not self._close_one(self._wanted):
                return

    def _close_one(self, spared: Container[int]) -> bool:
        for index in self._shards:
            if index not in self._in_use and index not in spared:
                del self._shards[index]  # arrays over it keep its mapping alive
                self._files.release(index)
                return True
        return False
