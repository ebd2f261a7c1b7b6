"""The run folder `runs/<key>/`: one configuration, one writer at a time."""

import difflib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import ObstacleError, UserError
from pipeline.storage.atomic import write_json
from pipeline.storage.locks import LockedError, locked

KEY_LENGTH = 12  # characters of the key that name the folder


@contextmanager
def open_run_folder(
    runs_dir: Path,
    run_key: str,
    identity: Mapping[str, Any],
    restart: bool = False,
    patience_s: float = 0.0,
) -> Iterator[Path]:
    """Yields the locked folder of `run_key`, whose `config.json` holds `identity`.

    `restart` empties it first. Raises UserError when another process writes it for longer than
    `patience_s`, or when it holds another identity than its key promises.
    """
    run_dir = runs_dir / run_key[:KEY_LENGTH]
    run_dir.mkdir(parents=True, exist_ok=True)
    with _held(run_dir, patience_s):
        if restart:
            _empty(run_dir)
        _check_identity(run_dir / "config.json", identity)
        yield run_dir


@contextmanager
def _held(run_dir: Path, patience_s: float) -> Iterator[None]:
    try:
        with locked(run_dir / "lock", patience_s):
            yield
    except LockedError as holder:
        raise ObstacleError(
            f"{run_dir} is being written by process {holder}; wait for it or stop it "
            f"(kill {holder})"
        ) from None


def _empty(run_dir: Path) -> None:
    for path in run_dir.iterdir():
        if path.name == "lock":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _check_identity(path: Path, identity: Mapping[str, Any]) -> None:
    expected = json.dumps(identity, indent=2, sort_keys=True)
    if not path.exists():
        write_json(path, identity)
        return
    try:
        stored = json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=2, sort_keys=True)
    except ValueError:
        raise UserError(f"{path} is damaged; train with --restart to start afresh") from None
    if stored != expected:
        lines = difflib.unified_diff(
            stored.splitlines(), expected.splitlines(), "stored", "expected", n=0, lineterm=""
        )
        raise UserError(
            f"{path} does not hold the configuration that its folder's name promises; "
            f"train with --restart to discard it. The difference:\n" + "\n".join(lines)
        )
