"""The folder of a study, `reports/studies/NAME/`: its `study.json` and the driver's lock."""

import difflib
import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.search.journal import JOURNAL_NAME, Event, read_journal
from pipeline.storage.atomic import write_json
from pipeline.storage.disk_space import explain_full_folder
from pipeline.storage.locks import LockedError, locked

STUDY_NAME = "study.json"
_LOCK_NAME = "lock"
_CODE = "code_digest"
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_FULL_CURE = "free some, then run the same command to go on"


@contextmanager
def open_study_folder(
    folder: Path, description: Mapping[str, Any], restart: bool = False
) -> Iterator[list[Event]]:
    """Locks the folder and writes `description` to its `study.json`; yields discarded events.

    The `identity` in `description` must equal the folder's. `restart` discards the study first;
    run folders stay, so finished trials are not trained again. Raises UserError when another driver
    holds the lock, when the folder has another study, when it cannot be written, and when its disk
    is full.
    """
    discarded: list[Event] = []
    with explain_full_folder(folder, _FULL_CURE), _held(folder):
        if restart:
            discarded = _readable(folder / JOURNAL_NAME)
            for name in (STUDY_NAME, JOURNAL_NAME):
                (folder / name).unlink(missing_ok=True)
        elif (folder / STUDY_NAME).exists():
            _check_same(folder, read_study(folder)["identity"], description["identity"])
        elif (folder / JOURNAL_NAME).exists():
            raise UserError(
                f"{folder} has no {STUDY_NAME} any more; --restart starts the study afresh"
            )
        write_json(folder / STUDY_NAME, description)
        yield discarded


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    _make(folder)
    try:
        with locked(folder / _LOCK_NAME):
            yield
    except LockedError as holder:
        raise UserError(
            f"{folder} is in use by process {holder}, which runs this study; wait for it or stop it"
        ) from None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LOCK_NAME).touch()
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise UserError(
            f"{folder} cannot be written: {error.strerror}; fix that, or name another project "
            "folder with --project"
        ) from error


def read_study(folder: Path) -> dict[str, Any]:
    """The content of `study.json`; raises UserError if it is missing or damaged."""
    path = folder / STUDY_NAME
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content["identity"], content["section"]
    except FileNotFoundError:
        name = folder.name.removesuffix("-smoke")
        options = "" if name == folder.name else " --smoke"
        raise UserError(
            f"{path} does not exist: there is no such study yet; `python tune.py --study "
            f"{name}{options}` starts it"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; --restart starts the study afresh") from None
    return content


def _readable(path: Path) -> list[Event]:
    try:
        return read_journal(path)
    except UserError:  # damaged
        return []


def _check_same(folder: Path, stored: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    stored, expected = dict(stored), dict(expected)
    old_code, new_code = (content.pop(_CODE, None) for content in (stored, expected))
    old, new = (json.dumps(c, indent=2, sort_keys=True).splitlines() for c in (stored, expected))
    if old != new:
        lines = difflib.unified_diff(old, new, "there", "here", n=0, lineterm="")
        raise UserError(
            f"{folder} holds another study of this name; --restart discards it, or --resume "
            "continues it as it was. The difference:\n" + "\n".join(lines)
        )
    if old_code != new_code:
        raise UserError(
            f"{folder} holds trials of other training code ({old_code:.12}, here {new_code:.12}), "
            "with which new trials are not comparable; check out that code, or start the study "
            "afresh with --restart"
        )
