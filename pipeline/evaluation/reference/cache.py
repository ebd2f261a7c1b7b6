"""Cache of reference statistics, shared by runs, processes and nodes with one file system.

`<data set's digest>-<digest of what decides the numbers>/` is one extractor's folder, as
`data/reference` holds it. An entry appears by a rename, whole or not at all, and is checked against
its hashes whenever it is read.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import Manifest
from pipeline.evaluation.metric_results import library_versions
from pipeline.evaluation.reference.folder import FORMAT, PROTOCOL_FILE, read_protocol
from pipeline.storage.digest import digest_json, digest_sources

_ROOT = Path(__file__).resolve().parents[3]
RESULT_SOURCES = (
    "pipeline/evaluation",
    "pipeline/data/loading",
    "pipeline/core/images.py",
    "pipeline/core/randomness.py",
)
"""Code that decides the statistics; `dvc.yaml` gives the stage `reference` the same folders."""
_PREFIX = ".making-"
_NAME_LENGTH = 16  # of each digest
_STALE_S = 24 * 3600  # what a killed process left is removed after it


class ReferenceCache:
    """The folder of the entries; None keeps none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, manifest: Manifest, identity: Mapping[str, Any]) -> Path | None:
        """The entry of `identity`, JSON values; None where there is none.

        A damaged one is reported on stderr and removed.
        """
        entry = self._entry(manifest, identity)
        if entry is None or not entry.is_dir():
            return None
        try:
            read_protocol(entry, manifest)
        except UserError as error:
            print(f"warning: {str(error).partition(';')[0]}; it is made anew", file=sys.stderr)
            _remove(entry)
            return None
        os.utime(entry / PROTOCOL_FILE)  # the time of its last use
        return entry

    @contextmanager
    def staging(self, beside: Path) -> Iterator[Path]:
        """A folder to make entries in, gone at the end; near `beside` where there is no cache."""
        parent = self._folder or beside.parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _sweep(parent)
            temporary = tempfile.TemporaryDirectory(prefix=_PREFIX, suffix=".tmp", dir=parent)
        except OSError as error:
            raise UserError(
                f"{parent} cannot be written ({error.strerror}); choose another runtime.cache_dir"
            ) from None
        with temporary as folder:
            yield Path(folder)

    def publish(self, staged: Path, manifest: Manifest, identity: Mapping[str, Any]) -> Path:
        """Makes a staged folder the entry of `identity`; returns where it is then.

        Where another process has been quicker, its entry stays: both hold the same.
        """
        entry = self._entry(manifest, identity)
        if entry is None:
            return staged
        try:
            os.rename(staged, entry)
        except OSError:
            if not (entry / PROTOCOL_FILE).exists():
                raise
        return entry

    def _entry(self, manifest: Manifest, identity: Mapping[str, Any]) -> Path | None:
        if self._folder is None:
            return None
        content = {
            **identity,
            "format": FORMAT,
            "code": digest_sources(_ROOT, RESULT_SOURCES),
            "versions": library_versions(),
        }
        names = manifest.digest[:_NAME_LENGTH], digest_json(content)[:_NAME_LENGTH]
        return self._folder / "-".join(names)


def _sweep(folder: Path) -> None:
    for left in folder.glob(f"{_PREFIX}*"):
        if time.time() - left.stat().st_mtime > _STALE_S:
            shutil.rmtree(left, ignore_errors=True)


def _remove(entry: Path) -> None:
    # Renamed first, so that no process reads a half of it.
    away = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=entry.parent))
    os.rename(entry, away / entry.name)
    shutil.rmtree(away, ignore_errors=True)
