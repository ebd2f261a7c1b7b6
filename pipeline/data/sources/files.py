"""Lists, reads and downloads the files of a source, on this machine or in S3."""

import functools
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from pipeline.core.errors import UserError
from pipeline.data.sources.source import Unreadable
from pipeline.storage.locks import WAIT, locked
from pipeline.storage.s3 import S3Folder
from pipeline.storage.s3_address import parse_s3_address

_NUM_REQUESTS = 16
"""Concurrent requests for small objects: S3 takes tens of milliseconds for each first byte."""
_CLUTTER = {"Thumbs.db", "desktop.ini"}
# `train-00000-of-00005.parquet`, `train/0001.tar`, `imagenet-train-000000.tar`
_TRAIN = re.compile(r"(^|[/_.-])train(ing)?([/_.-]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file."""

    name: str
    """Path relative to its directory, with `/`."""
    bytes: int
    """Size; -1 for a broken link."""
    mtime_ns: int
    """Time of the last change; 0 in S3, which does not list it."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory, on this machine or in S3."""

    address: str
    """An absolute path, or `s3://bucket/prefix`."""
    cache: Path | None
    """Folder for downloads; required for S3."""

    @property
    def is_remote(self) -> bool:
        return self.address.startswith("s3://")

    def path(self, name: str) -> Path:
        """The local file; one in S3 is downloaded first, once for all processes."""
        if not self.is_remote:
            return Path(self.address) / name
        assert self.cache is not None
        # An object's name may hold anything, `..` included; a digest is a safe file name.
        digest = hashlib.sha256(f"{self.address}\n{name}".encode()).hexdigest()
        path = self.cache / f"{digest[:32]}-{PurePosixPath(name).name[-40:]}"
        self.cache.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(path.name + ".lock"), WAIT):
            if not path.exists():
                _s3_folder(self.address).download(name, path)
        return path

    def has(self, name: str) -> bool:
        """Whether it holds a file of this name."""
        if self.is_remote:
            return _s3_folder(self.address).head(name) is not None
        return (Path(self.address) / name).is_file()

    def read(self, names: Sequence[str]) -> Iterator[bytes | Unreadable]:
        """The content of each of many small files, in their order."""
        if not self.is_remote:
            yield from (_content(Path(self.address) / name) for name in names)
            return
        folder = _s3_folder(self.address)
        pending: list[Future[bytes | Unreadable]] = []
        with ThreadPoolExecutor(_NUM_REQUESTS) as pool:
            try:
                for name in names:
                    pending.append(pool.submit(_object, folder, name))
                    if len(pending) >= 2 * _NUM_REQUESTS:
                        yield pending.pop(0).result()
                while pending:
                    yield pending.pop(0).result()
            finally:
                pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files at a path that the user gave."""

    directory: Directory
    """The directory; for a single file, its parent."""
    entries: tuple[Entry, ...]
    """All files below it, sorted by name; no hidden ones."""
    folders: tuple[str, ...]
    """Sorted names of the folders directly in it; no hidden ones."""
    is_file: bool
    """Whether the path is a single file."""
    hidden_folders: tuple[str, ...] = ()
    """Names of the hidden folders directly in it, on this machine."""

    def below(self, folder: str) -> "Listing":
        """The listing of one of its folders."""
        prefix = f"{folder}/"
        entries = [
            Entry(entry.name.removeprefix(prefix), entry.bytes, entry.mtime_ns)
            for entry in self.entries
            if entry.name.startswith(prefix)
        ]
        folders = {entry.name.partition("/")[0] for entry in entries if "/" in entry.name}
        directory = Directory(f"{self.directory.address}/{folder}", self.directory.cache)
        return Listing(directory, tuple(entries), tuple(sorted(folders)), False)


def list_files(path: str, cache: Path | None, expected: str, option: str = "data.path") -> Listing:
    """Lists the path that the user gave as `option`: a file or folder of this machine or in S3.

    Raises UserError, which ends with `expected`, where it does not exist or cannot be read.
    """
    if path.startswith("s3://"):
        if cache is None:
            raise ValueError("a source in S3 needs a folder for downloads")
        return _list_objects(path, cache, expected, option)
    root = Path(path).absolute()
    try:
        if root.is_file():
            return Listing(Directory(str(root.parent), None), (_entry(root, root.name),), (), True)
        if not root.exists():
            raise UserError(f"{option}: {path} does not exist; {expected}")
        if not root.is_dir():
            raise UserError(f"{option}: {path} is neither a file nor a folder; {expected}")
        entries = sorted(_walk(root, "", ()), key=lambda entry: entry.name)
        names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    except OSError as error:
        refuse(error, option)
    folders = tuple(filter(is_visible, names))
    hidden = tuple(name for name in names if name.startswith("."))
    for name in (*names, *(entry.name for entry in entries)):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UserError(f"{option}: the name {name!a} is not UTF-8; rename it") from None
    return Listing(Directory(str(root), None), tuple(entries), folders, False, hidden)


def refuse(error: OSError, option: str = "data.path") -> NoReturn:
    """Raises UserError for a file of the source that cannot be read."""
    raise UserError(f"{option}: {error.filename} cannot be read ({error.strerror})") from None


def is_visible(name: str) -> bool:
    """Whether a file or folder is neither hidden nor a desktop's clutter."""
    return not name.startswith(".") and name not in _CLUTTER


def short_name(path: str) -> str:
    """The last part of a path or an address, for display."""
    return path.rstrip("/").rpartition("/")[2] if "://" in path else Path(path).absolute().name


def _s3_folder(address: str) -> S3Folder:
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    folder = _bucket(bucket)
    return folder.folder(prefix) if prefix else folder


@functools.cache
def _bucket(name: str) -> S3Folder:
    return S3Folder(f"s3://{name}")  # creating a client takes a third of a second


def _list_objects(path: str, cache: Path, expected: str, option: str) -> Listing:
    address = parse_s3_address(path)
    parent, _, name = str(address).rpartition("/")
    if address.prefix:
        found = _s3_folder(parent).head(name)
        if found is not None:
            return Listing(Directory(parent, cache), (Entry(name, found.bytes, 0),), (), True)
    objects = [
        Entry(found.name, found.bytes, 0)
        for found in _s3_folder(str(address)).list()
        if all(is_visible(part) and part for part in found.name.split("/"))
    ]
    if not objects:
        raise UserError(f"{option}: {address} holds no objects; {expected}")
    folders = sorted({entry.name.partition("/")[0] for entry in objects if "/" in entry.name})
    entries = sorted(objects, key=lambda entry: entry.name)
    return Listing(Directory(str(address), cache), tuple(entries), tuple(folders), False)


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[Entry]:
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a link to one of its own parents
        return
    with os.scandir(folder) as found:
        for file in found:
            if not is_visible(file.name):
                continue
            if file.is_dir():
                yield from _walk(Path(file.path), f"{prefix}{file.name}/", (*above, identity))
            else:
                yield _entry(file, prefix + file.name)


def _entry(file: "os.DirEntry[str] | Path", name: str) -> Entry:
    try:
        status = file.stat()
    except FileNotFoundError:
        return Entry(name, -1, 0)
    return Entry(name, status.st_size, status.st_mtime_ns)


def _content(path: Path) -> bytes | Unreadable:
    try:
        return path.read_bytes()
    except OSError as error:
        return Unreadable(f"cannot be read ({error.strerror})")


def _object(folder: S3Folder, name: str) -> bytes | Unreadable:
    try:
        return folder.get(name)
    except FileNotFoundError:
        return Unreadable("is gone from S3")


def training_files(
    listing: Listing, path: str, suffix: str, expected: str
) -> tuple[tuple[Entry, ...], str]:
    """The files with `suffix` whose names contain `train`, or all where none does; and a note.

    Raises UserError where there is none.
    """
    found = [e for e in listing.entries if e.name.lower().endswith(suffix)]
    if not found:
        names = ", ".join(_heads(listing)) or "nothing"
        raise UserError(f"data.path: {path} holds {names} and no {suffix} file; {expected}")
    chosen = [entry for entry in found if _TRAIN.search(entry.name)] or found
    left = len(found) - len(chosen)
    return tuple(chosen), f"passed over: {left} {suffix} files of other splits" if left else ""


def _heads(listing: Listing) -> Sequence[str]:
    files = [entry.name for entry in listing.entries if "/" not in entry.name]
    return [*(f"{folder}/" for folder in listing.folders), *files][:5]
