"""CIFAR-10 and CIFAR-100 as published: the python archives, packed or unpacked.

https://www.cs.toronto.edu/~kriz/cifar.html. The training images are read, not the test images.
"""

import functools
import hashlib
import io
import pickle
import tarfile
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError
from pipeline.data.sources.files import Directory, Entry, list_files
from pipeline.data.sources.source import Items, Source
from pipeline.storage.atomic import atomic_write

_SIDE = 32
_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CifarArchive:
    """One of the two archives."""

    url: str
    md5: str
    """MD5 of the archive, from its page."""
    folder: str
    """The folder in it."""
    batches: tuple[str, ...]
    """Files of training images."""
    meta: str
    """File with the classes' names."""
    labels: str
    """Default key of the labels."""
    names: str
    """Key of those labels' names in the meta file."""


ARCHIVES = {
    "cifar10": CifarArchive(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        batches=tuple(f"data_batch_{number}" for number in range(1, 6)),
        meta="batches.meta",
        labels="labels",
        names="label_names",
    ),
    "cifar100": CifarArchive(
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        batches=("train",),
        meta="meta",
        labels="fine_labels",
        names="fine_label_names",
    ),
}


def open_cifar(kind: str, path: str, label_column: str | None, cache: Path | None) -> Source:
    """`kind` is cifar10 or cifar100; keys are `<batch>/<index>`.

    `label_column` may be coarse_labels, CIFAR-100's 20 superclasses. Raises UserError for anything
    but the published files.
    """
    archive = ARCHIVES[kind]
    expected = f"expected {archive.url.rpartition('/')[2]} or the folder {archive.folder} in it"
    listing = list_files(path, cache, expected)
    names = [entry.name for entry in listing.entries]
    if not listing.is_file:
        prefix = "" if archive.meta in names else f"{archive.folder}/"
        missing = [n for n in (*archive.batches, archive.meta) if prefix + n not in names]
        packed = [name for name in names if name == archive.url.rpartition("/")[2]]
        if missing and not packed:
            raise UserError(f"data.path: {path} lacks {', '.join(missing)}; {expected}")
        name = packed[0] if missing else ""
        known = [e for e in listing.entries if e.name == name or e.name.startswith(prefix)]
        read = _CifarReader(listing.directory, kind, name, prefix, tuple(known))
    else:
        read = _CifarReader(
            listing.directory, kind, names[0], f"{archive.folder}/", listing.entries
        )

    labels_key = label_column or archive.labels
    class_names = _class_names(read, archive, labels_key)
    keys: list[str] = []
    labels: list[int] = []
    where: list[tuple[int, int, int]] = []
    for number, batch in enumerate(archive.batches):
        content = read.batch(batch)
        of_batch = content.get(labels_key.encode())
        count = len(read.images(batch))
        valid = isinstance(of_batch, list) and len(of_batch) == count
        of_batch = of_batch if isinstance(of_batch, list) else []
        if not valid or not all(type(y) is int and 0 <= y < len(class_names) for y in of_batch):
            raise _damaged(path, batch, f"its {labels_key} are not one for each image")
        check = zlib.crc32(content[b"data"])
        keys += [f"{batch}/{index:05}" for index in range(count)]
        labels += of_batch
        where += [(number, index, check) for index in range(count)]
    return Source(
        name=kind,
        class_names=class_names,
        items=Items(keys=keys, labels=np.array(labels, np.int32), where=np.array(where, np.int64)),
        read=read,
        origin={"kind": kind, "path": path, "labels": labels_key, "part": "training images"},
        preprocessing={},
    )


def download_archive(archive: CifarArchive, folder: Path) -> Path:
    """The archive's file in `folder`, fetched if it is not there; checked against its MD5.

    Raises UserError without a network, and for another file than the published one.
    """
    path = folder / archive.url.rpartition("/")[2]
    if not path.exists():
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with (
                urllib.request.urlopen(archive.url, timeout=_TIMEOUT_S) as reply,
                atomic_write(path) as temporary,
                temporary.open("wb") as file,
            ):
                while block := reply.read(1 << 20):
                    digest.update(block)
                    file.write(block)
                if digest.hexdigest() != archive.md5:
                    raise UserError(f"the file at {archive.url} is not the published archive")
        except OSError as error:
            reason = getattr(error, "reason", None) or error.strerror or error
            raise UserError(
                f"data.path: download: {archive.url} cannot be fetched ({reason}); fetch it "
                "elsewhere and set data.path to the file"
            ) from None
    return path


@dataclass(frozen=True)
class _CifarReader:
    directory: Directory
    kind: str
    packed: str
    """Name of the archive in the directory; empty where it is unpacked."""
    prefix: str
    """Prefix of the names of its files, in the archive or in the directory."""
    state: tuple[Entry, ...]
    """The files' sizes and times: part of the key of the caches below."""

    def __call__(self, items: Items) -> Iterator[npt.NDArray[np.uint8]]:
        batches = ARCHIVES[self.kind].batches
        for number, index in items.where[:, :2].tolist():
            planes = self.images(batches[number])[index]
            yield np.ascontiguousarray(planes.transpose(1, 2, 0))

    def images(self, batch: str) -> npt.NDArray[np.uint8]:
        """uint8 [N, 3, 32, 32]."""
        data = self.batch(batch).get(b"data")
        if not isinstance(data, np.ndarray) or data.shape[1:] != (3 * _SIDE * _SIDE,):
            raise _damaged(self.directory.address, batch, "its data are no images of 32x32 pixels")
        return data.reshape(-1, 3, _SIDE, _SIDE)

    def batch(self, name: str) -> dict[bytes, Any]:
        """The content of a file of the archive."""
        return _read_batch(self, name)


# A worker reads one image after another of the same batches.
@functools.lru_cache(maxsize=6)
def _read_batch(reader: _CifarReader, name: str) -> dict[bytes, Any]:
    try:
        if reader.packed:
            content = _unpacked(reader)[reader.prefix + name]
        else:
            content = reader.directory.path(reader.prefix + name).read_bytes()
        return read_pickle(content)
    except KeyError:
        raise _damaged(reader.directory.address, name, "it is not in the archive") from None
    except (OSError, pickle.UnpicklingError) as error:
        raise _damaged(reader.directory.address, name, str(error)) from None


@functools.lru_cache(maxsize=1)
def _unpacked(reader: _CifarReader) -> dict[str, bytes]:
    path = reader.directory.path(reader.packed)
    try:
        with tarfile.open(path) as archive:  # of any compression
            files = [member for member in archive if member.isfile()]
            return {m.name: f.read() for m in files if (f := archive.extractfile(m)) is not None}
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise _damaged(reader.directory.address, reader.packed, str(error)) from None


def _class_names(read: _CifarReader, archive: CifarArchive, labels_key: str) -> tuple[str, ...]:
    names_key = archive.names
    if labels_key != archive.labels:
        names_key = labels_key.removesuffix("s") + "_names"
    meta = read.batch(archive.meta)
    names = meta.get(names_key.encode())
    if not isinstance(names, list) or not names or not all(isinstance(n, bytes) for n in names):
        known = [k.decode() for k in read.batch(archive.batches[0]) if k.endswith(b"labels")]
        raise UserError(
            f"data.label_column = {labels_key!r} has no names in {archive.meta}; choose one of "
            f"{', '.join(known)}"
        )
    return tuple(name.decode("utf-8", "backslashreplace") for name in names)


def _damaged(address: str, file: str, reason: str) -> UserError:
    reason = " ".join(reason.split())
    return UserError(f"data.path: {file} of {address} is not as published: {reason}; fetch it anew")


def read_pickle(content: bytes) -> dict[bytes, Any]:
    """A dictionary of lists, numbers, byte strings and uint8 arrays, pickled by Python 2 or 3.

    A pickle can call any function; this one may call the stand-ins below, and nothing else. Raises
    pickle.UnpicklingError for any other content.
    """
    try:
        values = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(values, dict):
            raise pickle.UnpicklingError("it holds no dictionary")
        return {k: v.pixels if isinstance(v, _Array) else v for k, v in values.items()}
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # damaged pickles raise errors of every type
        reason = f"it is damaged ({type(error).__name__}: {error})"
        raise pickle.UnpicklingError(reason) from None


class _DType:
    def __init__(self, name: bytes | str, *_: object) -> None:
        self.is_uint8 = name in (b"u1", "u1")

    def __setstate__(self, state: object) -> None:
        pass


class _Array:
    """Stands in for `_reconstruct`, because numpy does not check the state that it is given."""

    pixels: npt.NDArray[np.uint8]

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        if not (isinstance(dtype, _DType) and dtype.is_uint8 and not is_fortran):
            raise pickle.UnpicklingError("it holds an array that is not of bytes in C order")
        self.pixels = np.frombuffer(content, np.uint8).reshape(shape)


class _Unpickler(pickle.Unpickler):
    """https://docs.python.org/3/library/pickle.html#restricting-globals"""

    _ALLOWED: ClassVar[dict[str, Any]] = {
        "numpy.core.multiarray._reconstruct": _Array,
        "numpy._core.multiarray._reconstruct": _Array,
        "numpy.ndarray": object,
        "numpy.dtype": _DType,
        "_codecs.encode": lambda text, _: text.encode("latin1"),  # bytes, in protocol 2
    }

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR batch needs")
        return self._ALLOWED[f"{module}.{name}"]
