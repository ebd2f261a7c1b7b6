"""The shards of a split that are mapped at the moment, opened by whoever needs them first."""

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import psutil

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import Split
from pipeline.data.shards.mapped_images import MappedImages
from pipeline.data.shards.page_cache import stage
from pipeline.data.shards.shard_file import Shard, damaged, open_shard

_MAX_OPEN = 24_000  # each takes two of the 65,530 mappings that Linux grants a process by default
_CLOSING_S = 1.0


class ShardFiles(Protocol):
    """Where the files of a split's shards come from; threads share it."""

    capacity: int | None
    """How many can be held at a time; None: all."""
    room: str
    """Says so to the user, with the cure: `the cache x holds 7 shards; raise y`."""
    num_threads: int
    """How many are worth fetching at a time."""

    def fetch(self, index: int) -> Path:
        """A sound copy of a shard's file on this machine, which stays until it is released."""

    def release(self, index: int) -> None:
        """Ends what `fetch` began."""


class OpenShards:
    """Maps the shards of one split as they are needed, and ahead of that on threads."""

    def __init__(
        self, files: ShardFiles, split: Split, shape: tuple[int, int, int], num_classes: int
    ) -> None:
        self._files = files
        self._entries = split.shards
        self._shape = shape
        self._num_classes = num_classes
        count = len(split.shards)
        self.capacity = min(count, _MAX_OPEN, files.capacity or count)
        """How many can be open at a time."""
        self._bounded = self.capacity < count or files.capacity is not None
        self.complete = count == 0
        """Whether all are open and none will be closed: no need to `use` them."""
        self.images: npt.NDArray[np.uint8] = np.empty((0, *shape), np.uint8)
        """The pixels of all open shards; row r of shard s is its entry r + deltas[s]."""
        self.labels: npt.NDArray[np.int64] = np.empty(0, np.int64)
        """Their labels, in the same places."""
        self.deltas: npt.NDArray[np.int64] = np.zeros(count, np.int64)
        self._firsts = np.cumsum([0, *(entry.rows for entry in split.shards)])
        self._mapped: MappedImages | None = None
        self._first_path = Path()
        self._slots: OrderedDict[int, int] = OrderedDict()  # the one used longest ago first
        self._free = list(range(self.capacity - 1, -1, -1))
        self._opening: set[int] = set()
        self._pins: Counter[int] = Counter()
        self._wanted: dict[int, None] = {}
        self._queue: deque[int] = deque()
        self._num_threads = 0
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        # What is staged beyond the memory at hand would only push out what was staged before.
        self._memory_bytes = 0.8 * psutil.virtual_memory().available
        self._stages = False

    @contextmanager
    def use(self, indices: Sequence[int]) -> Iterator[None]:
        """A context in which these shards, at most `capacity`, are open. Opens what is not.

        Raises UserError for a shard that is damaged or cannot be had.
        """
        # One at a time where not all can be open: two that each hold half would wait for ever.
        with self._turn if self._bounded else nullcontext():
            yield from self._use(indices)

    def _use(self, indices: Sequence[int]) -> Iterator[None]:
        with self._changed:
            self._pins.update(indices)
        try:
            for index in indices:
                self._ensure(index)
            yield
        finally:
            with self._changed:
                self._pins -= Counter(indices)
                self._close_surplus(0)
                self._changed.notify_all()

    def check_room_for(self, num_shards: int) -> None:
        """Raises UserError when so many cannot be held at a time."""
        if num_shards > self.capacity:
            raise UserError(
                f"the order mixes {num_shards} shards at a time, but {self._files.room}, or mix "
                "fewer with train.order: block and a smaller train.order_window"
            )

    def want(self, indices: Sequence[int]) -> None:
        """Opens shards on threads, in this order, and keeps them open until the next call.

        What is beyond the capacity is left to later calls.
        """
        with self._changed:
            self._wanted = dict.fromkeys(indices[: self.capacity])
            size = sum(self._entries[index].bytes for index in self._wanted)
            self._stages = size <= self._memory_bytes
            self._queue = deque(i for i in self._wanted if i not in self._slots)
            self._changed.notify_all()
            while self._num_threads < min(len(self._queue), self._files.num_threads):
                self._num_threads += 1
                threading.Thread(target=self._work, name="open-shards", daemon=True).start()

    def stop(self) -> None:
        """Wants no shard any more; waits a moment for the threads, but for no slow download."""
        with self._changed:
            self._wanted = {}
            self._queue.clear()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._num_threads == 0, _CLOSING_S)
            self._close_surplus(0)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._queue:
                    self._num_threads -= 1
                    self._changed.notify_all()
                    return
                index = self._queue.popleft()
            # Whoever uses the shard tries again, and gets the error.
            with suppress(Exception):
                self._ensure(index)

    def _ensure(self, index: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: index not in self._opening)
            if index in self._slots:
                self._slots.move_to_end(index)
                return
            self._opening.add(index)
        try:
            slot = self._take_slot(index)
            if slot is not None:
                self._open(index, slot)
        finally:
            with self._changed:
                self._opening.discard(index)
                self._changed.notify_all()

    def _take_slot(self, index: int) -> int | None:
        """A free slot, made free where there is none; None for a shard that nobody needs now."""
        with self._changed:
            while True:
                pinned = index in self._pins
                if not pinned and index not in self._wanted:
                    return None
                self._close_surplus(1)
                if not self._free and pinned:
                    self._close_one(())
                if self._free:
                    return self._free.pop()
                self._changed.wait()

    def _open(self, index: int, slot: int) -> None:
        entry, fetched = self._entries[index], False
        try:
            path = self._files.fetch(index)
            fetched = True
            if self._stages:
                stage(path)
            shard = open_shard(path, entry.rows, self._shape)
            if shard.labels.min() < 0 or shard.labels.max() >= self._num_classes:
                raise damaged(path, "it has unknown labels")
            with self._changed:
                self._map(index, slot, path, shard)
        except BaseException:
            with self._changed:
                self._free.append(slot)
            if fetched:
                self._files.release(index)
            raise

    def _map(self, index: int, slot: int, path: Path, shard: Shard) -> None:
        if self._mapped is None:
            max_bytes = max(entry.bytes for entry in self._entries)
            self._mapped = MappedImages(self.capacity, max_bytes, self._shape, shard.pixels_at)
            self._first_path = path
            self.images = self._mapped.array
            self.labels = np.zeros(len(self.images), np.int64)  # untouched, it takes no memory
        try:
            first = self._mapped.map(slot, path, self._entries[index].bytes, shard.pixels_at)
        except ValueError as error:
            raise damaged(path, f"{error} (as in {self._first_path})") from None
        self.labels[first : first + len(shard.labels)] = shard.labels
        self.deltas[index] = first - self._firsts[index]
        self._slots[index] = slot
        self.complete = not self._bounded and len(self._slots) == len(self._entries)

    def _close_surplus(self, num_more: int) -> None:
        """Makes room for others who share the files: keeps what is wanted, else the last one."""
        most = max(1, len(self._wanted)) - num_more
        while self._bounded and self.capacity - len(self._free) > most:
            if not self._close_one(self._wanted):
                return

    def _close_one(self, spared: Container[int]) -> bool:
        for index, slot in self._slots.items():
            if index not in self._pins and index not in spared:
                del self._slots[index]
                assert self._mapped is not None
                self._mapped.unmap(slot)
                self._free.append(slot)
                self._files.release(index)
                return True
        return False
