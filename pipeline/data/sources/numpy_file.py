"""Images in an .npz or .npy file, read one by one: the archive never has to fit in memory.

The layout of guided-diffusion's sample batches: `arr_0` uint8 [N, H, W, C] and, for
class-conditional models, `arr_1` integers [N] (openai/guided-diffusion, evaluations/README.md).
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.lib.format as npy
import numpy.typing as npt

from pipeline.core.errors import UserError

SUFFIXES = (".npz", ".npy")
_IMAGES = ("arr_0", "images", "samples", "x")
_LABELS = ("arr_1", "labels", "label", "y")
_EXPECTED = "expected uint8 images [N, H, W, C] with values 0 to 255, C of 1, 3 or 4"


@dataclass(frozen=True, slots=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrays:
    """The images of a file, which stay there."""

    file: Path
    name: str | None
    """Of the images' array within an archive; None for a file of one array."""
    shape: tuple[int, int, int, int]
    """[N, H, W, C]."""
    labels: npt.NDArray[Any] | None
    """Integers [N], where the file has them."""

    def images(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Each image uint8 [H, W, C], or [H, W] where C is 1."""
        count, *shape = self.shape
        size = int(np.prod(shape))
        with _open(self.file, self.name) as (content, _):
            for _ in range(count):
                pixels = np.frombuffer(_exactly(content, size, self.file), np.uint8)
                yield pixels.reshape(shape[:2] if shape[2] == 1 else shape)


def open_arrays(path: str, file: Path) -> Arrays:
    """The images of a file; raises UserError where it is damaged or of another form."""
    if file.suffix == ".npy":
        with _open(file, None) as (_, header):
            shape = _check(path, file.name, header)
        return Arrays(file=file, name=None, shape=shape, labels=None)
    members = _members(file)
    name = next((name for name in _IMAGES if name in members), None)
    if name is None and len(members) == 1:
        name = members[0]
    if name is None:
        found = ", ".join(members) or "nothing"
        raise UserError(f"{path} holds {found} and no arr_0; {_EXPECTED}, as arr_0")
    with _open(file, name) as (_, header):
        shape = _check(path, name, header)
    labelled = next((other for other in _LABELS if other in members and other != name), None)
    labels = None if labelled is None else _labels(path, file, labelled, shape[0])
    return Arrays(file=file, name=name, shape=shape, labels=labels)


def _members(file: Path) -> list[str]:
    try:
        with zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise _damaged(file, error) from None


@contextmanager
def _open(file: Path, member: str | None) -> Iterator[tuple[IO[bytes], _Header]]:
    """A stream of an array's values, and its header."""
    try:
        if member is None:
            with file.open("rb") as content:
                yield content, _header(content)
        else:
            with zipfile.ZipFile(file) as archive, archive.open(f"{member}.npy") as content:
                yield content, _header(content)
    except (OSError, KeyError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise _damaged(file, error) from None


def _header(content: IO[bytes]) -> _Header:
    version = npy.read_magic(content)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_columns, dtype = read(content)
    if by_columns and len(shape) > 1:
        raise ValueError("it is in Fortran's order; save np.ascontiguousarray(images)")
    return _Header(shape, dtype)


def _check(path: str, name: str, header: _Header) -> tuple[int, int, int, int]:
    shape, dtype = header.shape, header.dtype
    is_grey = len(shape) == 3 and dtype == np.uint8
    if is_grey:
        shape = (*shape, 1)
    if dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3, 4):
        hint = "; move the channels to the end" if shape[1:2] in ((1,), (3,)) else ""
        raise UserError(f"{path}: {name} is {dtype} {list(header.shape)}; {_EXPECTED}{hint}")
    return shape[0], shape[1], shape[2], shape[3]


def _labels(path: str, file: Path, name: str, count: int) -> npt.NDArray[Any]:
    with _open(file, name) as (content, header):
        if header.dtype.kind not in "iu" or header.shape != (count,):
            raise UserError(
                f"{path}: {name} is {header.dtype} {list(header.shape)}; expected an integer label "
                f"for each of the {count} images"
            )
        return np.frombuffer(_exactly(content, count * header.dtype.itemsize, file), header.dtype)


def _exactly(content: IO[bytes], size: int, file: Path) -> bytes:
    found = content.read(size)
    if len(found) < size:
        raise EOFError(f"{file.name} ends early")
    return found


def _damaged(file: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{file} is no whole {file.suffix} file of plain numbers ({reason})")
