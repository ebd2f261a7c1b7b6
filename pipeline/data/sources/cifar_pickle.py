"""Reads the pickles of the published CIFAR archives without running anything that they say.

A pickle can call any function. This reader knows stand-ins for numpy's three and nothing else:
https://docs.python.org/3/library/pickle.html#restricting-globals.
"""

import io
import math
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt


class UnsafePickleError(Exception):
    """The file holds what no CIFAR batch does."""


def read_pickle(content: bytes) -> Any:
    """Dictionaries, lists, numbers, byte strings and uint8 arrays of a pickle of Python 2 or 3.

    Raises UnsafePickleError for any other content.
    """
    try:
        return _plain(_Reader(io.BytesIO(content), encoding="bytes").load())
    except UnsafePickleError:
        raise
    except Exception as error:  # damaged pickles fail in every way
        raise UnsafePickleError(f"it is damaged ({type(error).__name__}: {error})") from None


class _Array:
    """Takes the state that an array's pickle sets; numpy itself would trust it."""

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> npt.NDArray[np.uint8]:
        _, shape, dtype, is_fortran, content = self.state
        if not (isinstance(dtype, _DType) and dtype.name in (b"u1", "u1") and not is_fortran):
            raise UnsafePickleError("it holds an array that is not of bytes in C order")
        if len(content) != math.prod(shape):
            raise UnsafePickleError(f"it holds an array of {len(content)} bytes, not {shape}")
        return np.frombuffer(content, np.uint8).reshape(shape)


class _DType:
    def __init__(self, name: object, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        pass


class _NDArray:
    """The class that `_reconstruct` is told to make."""


def _encode(text: str, encoding: str) -> bytes:
    return text.encode("latin1")  # how Python 3 writes bytes in Python 2's protocol


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _NDArray,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise UnsafePickleError(
                f"it asks for {module}.{name}, which no CIFAR batch needs"
            ) from None


def _plain(content: Any) -> Any:
    """The content with arrays in the places of their stand-ins."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    return content.array() if isinstance(content, _Array) else content
