"""Training batches, prepared ahead of the consumer on one thread."""

import queue
import sys
import threading
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from pipeline.data.block_order import BlockOrder, Order
from pipeline.data.reader import Rows

_NUM_AHEAD = 2
# The order costs a fixed half a millisecond a call: it is computed for many batches at once.
_ORDER_BLOCK = 4096
_CLOSING_S = 5.0
_UNUSED_REFERENCES = 3  # the list's, the loop's and getrefcount's own

Batch = tuple[torch.Tensor, torch.Tensor]


class Batches:
    """Batch k of the job holds positions [start + k * batch, start + (k + 1) * batch) of `order`.

    Rank r of `world_size` gets the r-th of `world_size` equal, contiguous slices of each, so the
    global batches do not depend on the number of processes. At most two batches are ready or being
    prepared at a time. `close` ends the thread.
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
        rows.check_room_for(order)
        self._rows = rows
        self._order = order
        self._batch = batch
        self._next_start = start
        self._slice = slice(rank * (batch // world_size), (rank + 1) * (batch // world_size))
        self._shape = (batch // world_size, *rows.shape)
        self._pin_memory = pin_memory
        self._memory: list[npt.NDArray[np.uint8]] = []
        self._ready: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()  # None: look at the rest
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()  # an entry for each batch to make
        self._failure: BaseException | None = None
        self._closed = False
        for _ in range(_NUM_AHEAD):
            self._room.put(None)
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def next_batch(self) -> Batch:
        """The next images, uint8 [B, H, W, C], and labels, int64 [B], on the CPU; own memory.

        Raises what the thread raised, after the batches that it had finished before.
        """
        batch = None if self._closed else self._ready.get()
        if batch is None:
            self._ready.put(None)  # for the next call
            if self._closed:
                raise RuntimeError("these batches are closed")
            assert self._failure is not None
            raise self._failure
        self._room.put(None)
        return batch

    def close(self) -> None:
        """Ends the thread within one batch, or lets it end a slow download alone; repeatable."""
        self._closed = True
        self._room.put(None)
        self._ready.put(None)
        self._thread.join(_CLOSING_S)
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

    def _work(self) -> None:
        try:
            num_batches = max(1, _ORDER_BLOCK // self._batch)
            count = num_batches * self._batch
            while True:
                order = self._order.rows_at(self._next_start, count)
                self._next_start += count
                block = order.reshape(num_batches, self._batch)[:, self._slice]
                self._open_ahead(block.reshape(-1))
                for rows in block:
                    self._room.get()
                    if self._closed:
                        return
                    self._ready.put(self._prepare(rows))
        except BaseException as error:  # it belongs to the consumer, whatever it is
            self._failure = error
            self._ready.put(None)

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

    def _prepare(self, rows: npt.NDArray[np.int64]) -> Batch:
        labels = torch.from_numpy(self._rows.labels_of(rows))
        if self._pin_memory:  # torch itself keeps pinned memory, and knows what is still copied
            pinned = torch.empty(self._shape, dtype=torch.uint8, pin_memory=True)
            self._rows.gather(rows, out=pinned.numpy())
            return pinned, labels.pin_memory()
        images = self._free_memory()
        self._rows.gather(rows, out=images)
        return torch.from_numpy(images), labels

    def _free_memory(self) -> npt.NDArray[np.uint8]:
        """Memory of a batch that nobody has any more: fresh pages cost as much as the copy."""
        for images in self._memory:
            if sys.getrefcount(images) == _UNUSED_REFERENCES:  # a tensor over it is one more
                return images
        images = np.empty(self._shape, np.uint8)
        if len(self._memory) <= _NUM_AHEAD:
            self._memory.append(images)
        return images
