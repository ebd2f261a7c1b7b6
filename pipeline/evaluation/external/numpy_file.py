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
from pipeline.evaluation.external.origin import Found, Origin

SUFFIXES = (".npz", ".npy")
_IMAGES = ("arr_0", "images", "samples", "x")
_LABELS = ("arr_1", "labels", "label", "y")
_EXPECTED = "expected uint8 images [N, H, W, C] with values 0 to 255, C of 1, 3 or 4"


@dataclass(frozen=True, slots=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def numpy_origin(path: str, file: Path) -> Origin:
    """The images of a file; raises UserError where it is damaged or of another form."""
    labels: npt.NDArray[Any] | None = None
    name = None
    if file.suffix == ".npz":
        members = _members(file)
        name = next((name for name in _IMAGES if name in members), None)
        if name is None and len(members) == 1:
            name = members[0]
        if name is None:
            found = ", ".join(members) or "nothing"
            raise UserError(f"{path} holds {found} and no arr_0; {_EXPECTED}, as arr_0")
        with _open(file, name) as (_, header):
            shape = _check(path, name, header)
        named = next((other for other in _LABELS if other in members and other != name), None)
        if named is not None:
            labels = _labels(path, file, named, shape[0])
    else:
        with _open(file, None) as (_, header):
            shape = _check(path, file.name, header)

    def read() -> Iterator[Found]:
        size = int(np.prod(shape[1:]))
        with _open(file, name) as (content, _):
            for row in range(shape[0]):
                pixels = np.frombuffer(_exactly(content, size, file), np.uint8)
                image = pixels.reshape(shape[1:3] if shape[3] == 1 else shape[1:])
                yield Found(f"{row:06}", image, None if labels is None else int(labels[row]))

    return Origin(
        path=path, layout=f"{name or file.name} uint8 [{', '.join(map(str, shape))}]", read=read
    )


def _members(file: Path) -> list[str]:
    try:
        with zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise _damaged(file, error) from None


@contextmanager
def _open(file: Path, member: str | None) -> Iterator[tuple[IO[bytes], _Header]]:
    """A stream of an array's values, and what its header says."""
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
