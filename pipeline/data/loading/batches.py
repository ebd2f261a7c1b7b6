"""Training batches, prepared ahead of the consumer on two threads."""

import math
import queue
import sys
import threading
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from pipeline.data.loading.block_order import BlockOrder, Order
from pipeline.data.shards.reader import Rows

# Groups ready or being made, and threads that make them: one alone leaves the memory half idle.
_NUM_AHEAD = 2
# Small batches are made together: waking the consumer costs as much as gathering 200 kB.
_GROUP_BYTES = 1 << 20
_MAX_GROUP = 8
# The order costs a fixed half a millisecond a call: it is computed for many batches at once.
_ORDER_BLOCK = 8192
_CLOSING_S = 5.0
_SAMPLE_ROWS = 4096
_UNUSED_REFERENCES = 3  # the list's, the loop's and getrefcount's own

Batch = tuple[torch.Tensor, torch.Tensor]
_Done = queue.SimpleQueue[list[Batch] | BaseException]


class Batches:
    """Batch k of the job holds positions [start + k * batch, start + (k + 1) * batch) of `order`.

    Rank r of `world_size` gets the r-th of `world_size` equal, contiguous slices of each, so the
    global batches do not depend on the number of processes. At most two batches, or 2 MB of small
    ones, are ready or being prepared at a time. `close` ends the threads.
    """

    def __init__(
        self,
        rows: Rows,
        order: Order,
        batch: int,
        start: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> None:
        """Raises UserError when the order mixes more shards than can be held together."""
        if len(rows) == 0:
            raise ValueError("there are no rows to draw batches from")
        if batch < 1 or start < 0 or batch % world_size or not 0 <= rank < world_size:
            raise ValueError(
                f"batch {batch} at {start} cannot be cut for rank {rank} of {world_size}"
            )
        # Positions within the first window of a block order.
        rows.check_room_for(order.rows_at(0, min(_SAMPLE_ROWS, *rows.shard_rows)))
        self._rows = rows
        self._order = order
        self._batch = batch
        self._next_start = start
        share = batch // world_size
        self._slice = slice(rank * share, (rank + 1) * share)
        batch_bytes = share * math.prod(rows.shape)
        self._group = min(_MAX_GROUP, max(1, _GROUP_BYTES // batch_bytes))
        self._shape = (self._group * share, *rows.shape)
        self._pin_memory = pin_memory
        self._memory: list[npt.NDArray[np.uint8]] = []
        self._taken: list[Batch] = []  # by the consumer, the next one last
        self._groups = self._rows_of_groups()
        self._next_group = threading.Lock()
        self._asked: queue.SimpleQueue[_Done | None] = queue.SimpleQueue()
        self._coming: deque[_Done] = deque()  # the groups asked for, in their order
        self._failure: BaseException | None = None
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name="batches", daemon=True)
            for _ in range(_NUM_AHEAD)
        ]
        for thread in self._threads:
            self._ask()
            thread.start()

    def next_batch(self) -> Batch:
        """The next images, uint8 [B, H, W, C], and labels, int64 [B], on the CPU; own memory.

        Raises what a thread raised, after the batches before.
        """
        if self._closed:
            raise RuntimeError("these batches are closed")
        if self._failure is not None:
            raise self._failure
        if not self._taken:
            done = self._coming.popleft().get()
            self._ask()
            if self._closed:
                raise RuntimeError("these batches are closed")
            if isinstance(done, BaseException):
                self._failure = done
                raise done
            self._taken = done
        return self._taken.pop()

    def close(self) -> None:
        """Ends the threads, or lets them end a slow download alone; may be called twice."""
        self._closed = True
        self._taken = []
        for _ in self._threads:
            self._asked.put(None)
        for thread in self._threads:
            thread.join(_CLOSING_S)
        self._rows.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self) -> None:
        self._coming.append(queue.SimpleQueue())
        self._asked.put(self._coming[-1])

    def _work(self) -> None:
        while True:
            with self._next_group:
                done = self._asked.get()
                if done is None:
                    return
                if self._closed:  # for a consumer who waits on another thread
                    done.put([])
                    continue
                try:
                    rows = next(self._groups)
                    memory = self._free_memory()
                    if not self._rows.all_open:  # what the next group wants would displace these
                        done.put(self._prepare(rows, memory))
                        continue
                except BaseException as error:  # it belongs to the consumer, whatever it is
                    done.put(error)
                    continue
            try:
                done.put(self._prepare(rows, memory))
            except BaseException as error:
                done.put(error)
            del memory

    def _rows_of_groups(self) -> Iterator[npt.NDArray[np.int64]]:
        """This rank's rows of each group in turn."""
        group = self._group * self._batch
        while True:
            # While shards come and go, no further than one of them: else too many are wanted.
            most = _ORDER_BLOCK if self._rows.all_open else self._rows.shard_rows[0]
            num_groups = max(1, min(_ORDER_BLOCK, most) // group)
            order = self._order.rows_at(self._next_start, num_groups * group)
            self._next_start += num_groups * group
            own = order.reshape(-1, self._batch)[:, self._slice].reshape(num_groups, -1)
            self._open_ahead(own.reshape(-1))
            yield from own

    def _open_ahead(self, rows: npt.NDArray[np.int64]) -> None:
        """Wants the shards of the rows and, of a block order, as many that it visits next."""
        if self._rows.all_open:
            return
        ahead: list[int] = []
        if isinstance(self._order, BlockOrder):
            needed = np.unique(self._rows.shards_of(rows))
            epoch = (self._next_start - 1) // len(self._rows)
            visits = self._order.shards_of_epoch(epoch)
            last = int(np.flatnonzero(np.isin(visits, needed))[-1])
            ahead = visits[last + 1 : last + 1 + len(needed)].tolist()
            if len(ahead) < len(needed):
                next_visits = self._order.shards_of_epoch(epoch + 1)
                ahead += next_visits[: len(needed) - len(ahead)].tolist()
        self._rows.want(rows, ahead)

    def _prepare(
        self, rows: npt.NDArray[np.int64], memory: npt.NDArray[np.uint8] | None
    ) -> list[Batch]:
        labels = torch.from_numpy(self._rows.labels_of(rows))
        if memory is None:
            images = torch.empty(self._shape, dtype=torch.uint8, pin_memory=True)
            labels = labels.pin_memory()
            self._rows.gather(rows, out=images.numpy())
        else:
            self._rows.gather(rows, out=memory)
            images = torch.from_numpy(memory)
        if self._group == 1:
            return [(images, labels)]
        parts = zip(images.chunk(self._group), labels.chunk(self._group), strict=True)
        return list(parts)[::-1]

    def _free_memory(self) -> npt.NDArray[np.uint8] | None:
        """Memory of batches that nobody has any more: fresh pages cost as much as the copy.

        None where it is to be pinned: torch itself keeps that, and knows what is still copied.
        """
        if self._pin_memory:
            return None
        for images in self._memory:
            if sys.getrefcount(images) == _UNUSED_REFERENCES:  # a tensor over it is one more
                return images
        images = np.empty(self._shape, np.uint8)
        if len(self._memory) <= _NUM_AHEAD:
            self._memory.append(images)
        return images
