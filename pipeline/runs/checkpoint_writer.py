"""Parts of a checkpoint's way to disk: the copy in host memory, the writing thread, the digest."""

import ctypes
import hashlib
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

_Path = tuple[str | int, ...]
_PLAIN = (type(None), bool, int, float, str)


class HostCopy:
    """Copies states to host memory, where they stay as they are while training goes on.

    Each copy reuses the memory of the one before. It is as large as the tensors of one state;
    copies of CUDA tensors are pinned.
    """

    def __init__(self) -> None:
        self._buffers: dict[_Path, torch.Tensor] = {}
        self._devices: set[torch.device] = set()

    def take(self, state: Any) -> Any:
        """A copy of nested dicts, lists and tuples of tensors and plain values; strides stay.

        Valid until the next call. Raises TypeError for what `weights_only` would not load.
        """
        former, self._buffers = self._buffers, {}
        copy = self._copy(state, (), former)
        for device in self._devices:  # copies to pinned memory only start
            torch.cuda.current_stream(device).synchronize()
        return copy

    @property
    def num_bytes(self) -> int:
        """Size of the tensors of the newest copy."""
        return sum(buffer.nbytes for buffer in self._buffers.values())

    def _copy(self, value: Any, path: _Path, former: dict[_Path, torch.Tensor]) -> Any:
        if isinstance(value, torch.Tensor):
            return self._copy_tensor(value.detach(), path, former.get(path))
        if isinstance(value, dict):
            return {key: self._copy(item, (*path, key), former) for key, item in value.items()}
        if isinstance(value, list | tuple):
            items = [self._copy(item, (*path, i), former) for i, item in enumerate(value)]
            return tuple(items) if isinstance(value, tuple) else items
        if type(value) in _PLAIN:  # not isinstance: numpy's float64 is a float too
            return value
        name = ".".join(str(part) for part in path)
        raise TypeError(f"{name} is a {type(value).__name__}; a checkpoint holds plain values")

    def _copy_tensor(
        self, tensor: torch.Tensor, path: _Path, buffer: torch.Tensor | None
    ) -> torch.Tensor:
        if tensor.is_cuda:
            self._devices.add(tensor.device)
        wanted = torch.empty_like(tensor, device="meta")
        if (
            buffer is None
            or (buffer.shape, buffer.dtype) != (wanted.shape, wanted.dtype)
            or buffer.stride() != wanted.stride()
        ):
            buffer = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
        self._buffers[path] = buffer
        if tensor.device.type == "cpu" and tensor.stride() == buffer.stride():
            # copy_ synchronises with torch's other threads at every tensor: on a machine with other
            # load, 500 MB then took 0.1 to 2 seconds instead of 0.04 to 0.09.
            ctypes.memmove(buffer.data_ptr(), tensor.data_ptr(), tensor.nbytes)
            return buffer
        return buffer.copy_(tensor, non_blocking=tensor.is_cuda)


class BackgroundWriter:
    """Runs one write at a time on a thread; its exception is raised by the next call.

    The thread is no daemon: a process that ends finishes its write first.
    """

    def __init__(self) -> None:
        self.waited_s = 0.0
        """Time that callers spent in `wait` so far, seconds."""
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, write: Callable[[], None]) -> None:
        """Starts a write after the one before; raises that one's exception instead."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write,), name="checkpoint-writer")
        self._thread.start()

    def wait(self) -> None:
        """Returns when no write is in progress; raises the write's exception, once."""
        if self._thread is not None:
            started = time.perf_counter()
            self._thread.join()
            self.waited_s += time.perf_counter() - started
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:  # raised again in the waiting thread
            self._error = error


class HashingFile:
    """A file for torch.save that computes the SHA-256 of what is written.

    An OSError is raised by `hexdigest` instead of `write`: torch's writer would have to pass it
    through C++, and writes the archive's end after it.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._error: OSError | None = None

    def write(self, content: memoryview | bytes) -> int:
        """Writes and digests; returns the number of bytes."""
        if self._error is None:
            try:
                self._file.write(content)
            except OSError as error:
                self._error = error
        self._digest.update(content)
        return len(content)

    def flush(self) -> None:
        """Flushes the file below."""
        if self._error is None:
            try:
                self._file.flush()
            except OSError as error:
                self._error = error

    def hexdigest(self) -> str:
        """The SHA-256 of all that was written; raises the first OSError of a write."""
        self.flush()
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()
