"""The run folder `runs/<key>/`, whose key is a digest of everything that decides the result."""

import difflib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.core.errors import ObstacleError, UserError
from pipeline.distributed.context import DistContext
from pipeline.storage.atomic import write_json
from pipeline.storage.digest import digest_json, digest_sources
from pipeline.storage.locks import LockedError, locked
from pipeline.training.settings import TrainSettings

ENVIRONMENT_NAME = "environment.json"
"""Versions, processor and commit of the last call that trained."""
_KEY_LENGTH = 12  # characters of the key that name the folder
_ROOT = Path(__file__).resolve().parents[2]

RESULT_SOURCES = (
    "models",
    "pipeline/training",
    "pipeline/data/loading",
    "pipeline/core/images.py",
    "pipeline/core/randomness.py",
)
"""Code that decides a run's weights; `dvc.yaml` gives the stage `train` the same folders."""


def run_identity(
    settings: TrainSettings,
    dataset_digest: str,
    context: DistContext = DistContext(),  # noqa: B008
) -> dict[str, Any]:
    """What the key digests.

    The length is no part of it unless the learning rates depend on it: a longer run continues a
    shorter one. Nor is the number of processes, unless each has batch statistics of its own.
    """
    configuration = asdict(settings)
    if not settings.depends_on_length:
        del configuration["total_kimg"]
    if settings.generator.bn_statistics == "process":
        configuration["processes"] = context.world_size
    return {
        "settings": configuration,
        "dataset_digest": dataset_digest,
        "code_digest": code_digest(),
    }


def run_key(identity: Mapping[str, Any]) -> str:
    """SHA-256 of an identity, in hexadecimal."""
    return digest_json(identity)


def code_digest() -> str:
    """SHA-256 over names and contents of the files of RESULT_SOURCES."""
    return digest_sources(_ROOT, RESULT_SOURCES)


def run_folder(runs_dir: Path, run_key: str) -> Path:
    """The folder of a run."""
    return runs_dir / run_key[:_KEY_LENGTH]


@contextmanager
def open_run_folder(
    run_dir: Path, identity: Mapping[str, Any], restart: bool = False, patience_s: float = 0.0
) -> Iterator[None]:
    """Holds the lock of the folder, made where it is missing; its `config.json` has `identity`.

    `restart` empties it first. Raises ObstacleError when another process writes it for longer than
    `patience_s`, and UserError when it holds the identity of another run.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with _held(run_dir, patience_s):
        if restart:
            _empty(run_dir)
        _check_identity(run_dir / "config.json", identity)
        yield


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
