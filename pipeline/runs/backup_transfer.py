"""The files of a run's backup: uploaded in an order that survives interruption, and restored.

Names are relative to the run folder. A checkpoint's checksum is uploaded after it, and
`latest.json` after both: an object that names others is there only once they are complete.
"""

import json
import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.runs.checkpoints import (
    Retention,
    checkpoint_name,
    checkpoint_nimg,
    is_intact,
    parse_checksum,
    remove_leftovers,
    saved_nimgs,
    stored_checksum,
)
from pipeline.storage.atomic import write_bytes
from pipeline.storage.s3 import S3Folder
from pipeline.storage.s3_errors import S3DamagedError, S3UnavailableError

_LATEST = "latest.json"  # the newest complete checkpoint in the backup, for people and programs
_CHECKPOINTS = "checkpoints/"
_STATS = "stats.jsonl"
_WRITTEN_ONCE = ("snapshots", "samples")
_CHANGING = ("config.json", "environment.json", _STATS, "mlflow-*.json")


class RunUpload:
    """Keeps a run's folder in S3 up to date with its run folder."""

    def __init__(self, run_dir: Path, folder: S3Folder, retention: Retention) -> None:
        self._run_dir = run_dir
        self._folder = folder
        self._retention = retention
        self._sent: dict[str, bytes | str | int] = {}
        """Files known to be in S3: content, checksum or size by name."""
        self._reported: set[str] = set()

    def update(self) -> None:
        """Uploads what S3 lacks, and deletes checkpoints there that were pruned here.

        May be interrupted anywhere and called again. Raises what S3Folder raises.
        """
        remote = {item.name: item.bytes for item in self._folder.list()}
        for name in _written_once(self._run_dir):
            self._send_once(name, remote)
        for name in _changing(self._run_dir):
            self._send_content(name)
        names = set(remote)
        saved = saved_nimgs(self._run_dir / "checkpoints")
        for nimg in reversed(saved):
            if self._send_checkpoint(nimg, names):
                names.update(_checkpoint_files(nimg))
            self._send_latest(names)
        for nimg in self._retention.superfluous(_present_nimgs(names) | set(saved)):
            if nimg not in saved:
                for name in reversed(_checkpoint_files(nimg)):
                    self._folder.delete(name)

    def num_missing(self) -> int:
        """Files of the run folder that are not known to be in S3; sends no request."""
        names = _written_once(self._run_dir) + _changing(self._run_dir)
        for nimg in saved_nimgs(self._run_dir / "checkpoints"):
            names += _checkpoint_files(nimg)
        return len(set(names) - set(self._sent.copy()))  # the other thread may be adding to it

    # Nothing here is sent in parallel: the process must be able to end amid an upload.

    def _send_once(self, name: str, remote: dict[str, int]) -> None:
        path = self._run_dir / name
        size = path.stat().st_size
        # The names of the run and the file determine the content: equal length is the same file.
        if remote.get(name) != size:
            self._folder.upload(path, name, parallel=False)
        self._sent[name] = size

    def _send_content(self, name: str) -> None:
        content = (self._run_dir / name).read_bytes()
        if name == _STATS:  # a record is perhaps being appended
            content = content[: content.rfind(b"\n") + 1]
        if self._sent.get(name) != content:
            self._sent.pop(name, None)
            self._folder.put(name, content)
            self._sent[name] = content

    def _send_checkpoint(self, nimg: int, remote: set[str]) -> bool:
        name, checksum_name = _checkpoint_files(nimg)
        path = self._run_dir / name
        digest = stored_checksum(path)
        if digest is None:
            return False
        if self._sent.get(name) == digest:
            return True
        checksum = f"{digest}  {path.name}\n".encode()
        try:
            present = checksum_name in remote and self._folder.get(checksum_name) == checksum
            if checksum_name in remote and not present:  # of another checkpoint at this nimg
                self._folder.delete(checksum_name)
                remote.discard(checksum_name)
            self._folder.upload(path, name, digest, parallel=False)
        except FileNotFoundError:  # pruned meanwhile
            return False
        except S3DamagedError as error:
            if digest not in self._reported:
                _warn(str(error))
                self._reported.add(digest)
            return False
        if not present:
            self._folder.put(checksum_name, checksum)
        self._sent[name] = self._sent[checksum_name] = digest
        return True

    def _send_latest(self, names: set[str]) -> None:
        newest = max(complete_nimgs(names), default=None)
        if newest is None:
            return
        name, checksum_name = _checkpoint_files(newest)
        if name not in self._sent:  # uploaded by another machine
            self._sent[name] = parse_checksum(self._folder.get(checksum_name)) or ""
        digest = self._sent[name]
        content = json.dumps({"nimg": newest, "checkpoint": name, "sha256": digest}, indent=2)
        if self._sent.get(_LATEST) != content:
            self._folder.put(_LATEST, content.encode())
            self._sent[_LATEST] = content


def restore_run(run_dir: Path, folder: S3Folder, up_to_nimg: int) -> None:
    """Downloads the backup's newest intact checkpoint not beyond `up_to_nimg`, and files beside it.

    Nothing changes where the run folder has it, or a newer one. A damaged checkpoint is reported
    and the one before it tried. Where S3 cannot be reached, a run folder with a checkpoint resumes
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
        remove_leftovers(checkpoints)


def complete_nimgs(names: Iterable[str]) -> set[int]:
    """Checkpoints that are among `names` with their checksums."""
    names = set(names)
    return {nimg for nimg in _present_nimgs(names) if names.issuperset(_checkpoint_files(nimg))}


def _fetch(run_dir: Path, folder: S3Folder, own: int | None, up_to_nimg: int) -> None:
    names = {item.name for item in folder.list()}
    complete = complete_nimgs(names)
    _check_latest(folder, names, complete)
    ahead = [nimg for nimg in sorted(complete, reverse=True) if (own or -1) < nimg <= up_to_nimg]
    if not ahead:
        return
    # The checkpoint last: an interrupted restore is then repeated.
    for name in sorted(filter(_is_beside_checkpoints, names)):
        if name == _STATS or not (run_dir / name).exists():
            try:
                folder.download(name, run_dir / name)
            except S3DamagedError as error:
                _warn(f"{error}; going on without it")
    for nimg in ahead:
        name, checksum_name = _checkpoint_files(nimg)
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
    if _LATEST not in names:
        return
    try:
        nimg = int(json.loads(folder.get(_LATEST))["nimg"])
    except (ValueError, KeyError, TypeError, S3DamagedError):
        _warn(f"{folder.address / _LATEST} is damaged")
        return
    if nimg not in complete:
        name = _checkpoint_files(nimg)[0]
        _warn(f"{folder.address / name} is missing or incomplete; trying the one before it")


def _newest_intact(checkpoints: Path, up_to_nimg: int) -> int | None:
    for nimg in reversed(saved_nimgs(checkpoints)):
        if nimg <= up_to_nimg and is_intact(checkpoints / checkpoint_name(nimg)):
            return nimg
    return None


def _written_once(run_dir: Path) -> list[str]:
    """Files that never change once they have their name."""
    return sorted(
        f"{folder}/{path.name}"
        for folder in _WRITTEN_ONCE
        for path in (run_dir / folder).glob("*")
        if path.is_file() and path.suffix != ".tmp"
    )


def _changing(run_dir: Path) -> list[str]:
    """Small files that grow or are replaced."""
    return sorted(path.name for pattern in _CHANGING for path in run_dir.glob(pattern))


def _is_beside_checkpoints(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    if folder:  # a name in a bucket must not lead out of the run folder
        return folder in _WRITTEN_ONCE and file not in ("", ".", "..")
    return any(fnmatchcase(file, pattern) for pattern in _CHANGING)


def _checkpoint_files(nimg: int) -> tuple[str, str]:
    """The names of a checkpoint and of its checksum."""
    name = _CHECKPOINTS + checkpoint_name(nimg)
    return name, name + ".sha256"


def _present_nimgs(names: Iterable[str]) -> set[int]:
    """Checkpoints of which at least one file is among `names`."""
    inside = (name.removeprefix(_CHECKPOINTS) for name in names if name.startswith(_CHECKPOINTS))
    nimgs = (checkpoint_nimg(name.removesuffix(".sha256")) for name in inside)
    return {nimg for nimg in nimgs if nimg is not None}


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
