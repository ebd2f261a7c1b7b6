"""Training batches, prepared ahead of the consumer on one thread."""

import threading
from collections import deque
from types import TracebackType
from typing import Self

import numpy as np
import torch

from pipeline.data.block_order import Order
from pipeline.data.reader import Rows

_NUM_AHEAD = 2
# The order costs a fixed half a millisecond a call: it is computed for many batches at once.
_ORDER_BLOCK = 4096

Batch = tuple[torch.Tensor, torch.Tensor]


class Batches:
    """Batch k of the job holds positions [start + k * batch, start + (k + 1) * batch) of `order`.

    Rank r of `world_size` gets the r-th of `world_size` equal, contiguous slices of each, so the
    global batches do not depend on the number of processes. `close` ends the thread.
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
        if len(rows) == 0:
            raise ValueError("there are no rows to draw batches from")
        if batch < 1 or start < 0 or batch % world_size or not 0 <= rank < world_size:
            raise ValueError(
                f"batch {batch} at {start} cannot be cut for rank {rank} of {world_size}"
            )
        self._rows = rows
        self._order = order
        self._batch = batch
        self._next_start = start
        self._slice = slice(rank * (batch // world_size), (rank + 1) * (batch // world_size))
        self._pin_memory = pin_memory
        self._ready: deque[Batch] = deque()
        self._failure: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def next_batch(self) -> Batch:
        """The next images, uint8 [B, H, W, C], and labels, int64 [B], on the CPU; own memory.

        Raises what the thread raised, after the batches that it had finished before.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._failure or self._closed)
            if self._closed:
                raise RuntimeError("these batches are closed")
            if not self._ready:
                assert self._failure is not None
                raise self._failure
            batch = self._ready.popleft()
            self._changed.notify_all()
        return batch

    def close(self) -> None:
        """Ends the thread within one batch; may be called twice."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        self._thread.join()

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
            while not self._closed:
                num_batches = max(1, _ORDER_BLOCK // self._batch)
                count = num_batches * self._batch
                order = self._order.rows_at(self._next_start, count)
                self._next_start += count
                for rows in order.reshape(num_batches, self._batch):
                    batch = self._prepare(rows[self._slice])
                    with self._changed:
                        self._changed.wait_for(
                            lambda: self._closed or len(self._ready) < _NUM_AHEAD
                        )
                        if self._closed:
                            return
                        self._ready.append(batch)
                        self._changed.notify_all()
        except BaseException as error:  # it belongs to the consumer, whatever it is
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _prepare(self, rows: np.ndarray) -> Batch:
        images = torch.empty(
            (len(rows), *self._rows.shape), dtype=torch.uint8, pin_memory=self._pin_memory
        )
        self._rows.gather(rows, out=images.numpy())
        labels = torch.from_numpy(self._rows.labels[rows].astype(np.int64))
        return images, labels.pin_memory() if self._pin_memory else labels
