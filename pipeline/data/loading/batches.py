"""Training batches, prepared on a thread ahead of the consumer in a ring of buffers."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from pipeline.data.loading.order import BlockOrder, Order
from pipeline.data.shards.reader import Rows

_NUM_BUFFERS = 3  # one with the consumer, one ready, one being filled
# The order takes half a millisecond a call: it is computed for many batches at once.
_ORDER_ROWS = 8192
_CLOSING_S = 5.0
_SAMPLE_ROWS = 4096

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
        """`pin_memory` is for consumers that copy the batches to a CUDA device.

        Raises UserError when the order mixes more shards than can be open at a time.
        """
        if len(rows) == 0:
            raise ValueError("there are no rows to draw batches from")
        if batch < 1 or start < 0 or batch % world_size or not 0 <= rank < world_size:
            raise ValueError(
                f"batch {batch} at {start} cannot be cut for rank {rank} of {world_size}"
            )
        # Positions within the first window of a block order.
        rows.check_capacity(order.rows_at(0, min(_SAMPLE_ROWS, *rows.shard_rows)))
        self._rows = rows
        self._order = order
        self._batch = batch
        self._start = start
        share = batch // world_size
        self._slice = slice(rank * share, (rank + 1) * share)
        self._free: queue.SimpleQueue[_Buffer | None] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[_Buffer | BaseException] = queue.SimpleQueue()
        for _ in range(_NUM_BUFFERS):
            self._free.put(_Buffer.of_shape((share, *rows.shape), pin_memory))
        self._current: _Buffer | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def next_batch(self) -> Batch:
        """The next images, uint8 [B, H, W, C], and labels, int64 [B], on the CPU.

        They are valid until the next call, which gives their memory back to be overwritten. With
        `pin_memory` that waits for the work on the current CUDA stream, such as copies of them.
        Raises what the thread raised, after the batches before.
        """
        if self._failure is not None:
            raise self._failure
        if self._current is not None:
            self._current.give_back(self._free)
            self._current = None
        ready = self._ready.get()
        if isinstance(ready, BaseException):
            self._failure = ready
            raise ready
        self._current = ready
        return ready.images, ready.labels

    def close(self) -> None:
        """Ends the thread, without waiting for a slow download; may be called twice."""
        self._failure = RuntimeError("these batches are closed")
        self._ready.put(self._failure)  # for a consumer that waits on another thread
        self._free.put(None)
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
        batches = self._rows_of_batches()
        try:
            while (buffer := self._free.get()) is not None and self._failure is None:
                buffer.fill(self._rows, next(batches))
                self._ready.put(buffer)
        except BaseException as error:  # the consumer raises it, whatever it is
            self._ready.put(error)

    def _rows_of_batches(self) -> Iterator[npt.NDArray[np.int64]]:
        """This rank's rows of each batch in turn."""
        # While shards are opened and closed, at most one of them: more would not be open at once.
        most = min(_ORDER_ROWS, self._rows.shard_rows[0]) if self._rows.is_bounded else _ORDER_ROWS
        num_batches = max(1, most // self._batch)
        while True:
            order = self._order.rows_at(self._start, num_batches * self._batch)
            self._start += len(order)
            own = order.reshape(num_batches, self._batch)[:, self._slice]
            self._rows.prefetch(own.reshape(-1), self._shards_ahead(own))
            yield from own

    def _shards_ahead(self, rows: npt.NDArray[np.int64]) -> list[int]:
        """The shards that a block order visits after these rows', as many as these rows are of."""
        if not isinstance(self._order, BlockOrder) or not self._rows.is_bounded:
            return []
        current = np.unique(self._rows.shards_of(rows.reshape(-1)))
        epoch = (self._start - 1) // len(self._rows)
        visits = self._order.shards_of_epoch(epoch)
        last = int(np.flatnonzero(np.isin(visits, current))[-1])
        ahead: list[int] = visits[last + 1 : last + 1 + len(current)].tolist()
        if len(ahead) < len(current):
            next_visits = self._order.shards_of_epoch(epoch + 1)
            ahead += next_visits[: len(current) - len(ahead)].tolist()
        return ahead


@dataclass(slots=True)
class _Buffer:
    """Memory of one batch."""

    images: torch.Tensor
    labels: torch.Tensor
    copied: torch.cuda.Event | None = None
    """On CUDA: the end of the work that may read this memory."""

    @staticmethod
    def of_shape(shape: tuple[int, ...], pin_memory: bool) -> "_Buffer":
        return _Buffer(
            images=torch.empty(shape, dtype=torch.uint8, pin_memory=pin_memory),
            labels=torch.empty(shape[0], dtype=torch.int64, pin_memory=pin_memory),
            copied=torch.cuda.Event() if pin_memory else None,
        )

    def fill(self, rows: Rows, indices: npt.NDArray[np.int64]) -> None:
        if self.copied is not None:
            self.copied.synchronize()
        rows.gather(indices, self.images.numpy(), self.labels.numpy())

    def give_back(self, free: "queue.SimpleQueue[_Buffer | None]") -> None:
        if self.copied is not None:
            self.copied.record()
        free.put(self)
