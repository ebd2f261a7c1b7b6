"""Fetches from its mirror what a run folder lacks, on another machine or an empty disk."""

import json
import sys
from pathlib import Path

from pipeline.runs.backup_files import (
    LATEST,
    STATS,
    checkpoint_files,
    complete_nimgs,
    is_beside_checkpoints,
)
from pipeline.runs.checkpoint_files import (
    checkpoint_name,
    is_intact,
    parse_checksum,
    saved_nimgs,
    sweep,
)
from pipeline.storage.atomic import write_bytes
from pipeline.storage.s3 import S3Folder
from pipeline.storage.s3_errors import S3DamagedError, S3UnavailableError


def restore_run(run_dir: Path, folder: S3Folder, up_to_nimg: int) -> None:
    """Makes the mirror's newest intact checkpoint, not beyond `up_to_nimg`, the run folder's own.

    Nothing changes where the run folder has it, or a newer one. A damaged checkpoint is reported
    and the one before it tried. Where S3 cannot be reached, a run folder with a checkpoint goes on
    from that, with a warning; one without raises S3UnavailableError rather than start afresh.
    """
    checkpoints = run_dir / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    own = _newest_intact(checkpoints, up_to_nimg)
    try:
        _fetch(run_dir, folder, own, up_to_nimg)
    except S3UnavailableError as error:
        if own is None:
            raise
        _warn(f"{error}; going on from {checkpoints / checkpoint_name(own)}")
    finally:
        sweep(checkpoints)


def _fetch(run_dir: Path, folder: S3Folder, own: int | None, up_to_nimg: int) -> None:
    names = {item.name for item in folder.list()}
    complete = complete_nimgs(names)
    _check_latest(folder, names, complete)
    ahead = [nimg for nimg in sorted(complete, reverse=True) if (own or -1) < nimg <= up_to_nimg]
    if not ahead:
        return
    # The checkpoint last: a restore that was cut off is then made again.
    for name in sorted(filter(is_beside_checkpoints, names)):
        if name == STATS or not (run_dir / name).exists():
            try:
                folder.download(name, run_dir / name)
            except S3DamagedError as error:
                _warn(f"{error}; going on without it")
    for nimg in ahead:
        name, checksum_name = checkpoint_files(nimg)
        try:
            checksum = folder.get(checksum_name)
            digest = parse_checksum(checksum)
            if digest is None:
                raise S3DamagedError(f"{folder.address / checksum_name} holds no checksum")
            write_bytes(run_dir / checksum_name, checksum)
            folder.download(name, run_dir / name, digest)
            print(f"going on from {folder.address / name}", file=sys.stderr)
            return
        except (S3DamagedError, FileNotFoundError) as error:
            _warn(f"{error}; trying the one before it")


def _check_latest(folder: S3Folder, names: set[str], complete: set[int]) -> None:
    if LATEST not in names:
        return
    try:
        nimg = int(json.loads(folder.get(LATEST))["nimg"])
    except (ValueError, KeyError, TypeError, S3DamagedError):
        _warn(f"{folder.address / LATEST} is damaged")
        return
    if nimg not in complete:
        name = checkpoint_files(nimg)[0]
        _warn(f"{folder.address / name} is missing or incomplete; trying the one before it")


def _newest_intact(checkpoints: Path, up_to_nimg: int) -> int | None:
    for nimg in reversed(saved_nimgs(checkpoints)):
        if nimg <= up_to_nimg and is_intact(checkpoints / checkpoint_name(nimg)):
            return nimg
    return None


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
