"""Brings a run's folder in S3 up to date; may be cut off anywhere and be called again."""

import json
import sys
from pathlib import Path

from pipeline.runs.backup_files import (
    LATEST,
    STATS,
    begun_nimgs,
    changing,
    checkpoint_files,
    complete_nimgs,
    written_once,
)
from pipeline.runs.checkpoint_files import (
    Retention,
    parse_checksum,
    saved_nimgs,
    stored_checksum,
)
from pipeline.storage.s3 import S3Folder
from pipeline.storage.s3_errors import S3DamagedError


class RunUpload:
    """What of a run folder is in S3.

    A checkpoint's checksum goes up after it, and `latest.json` after both: whoever finds a name has
    all that it promises.
    """

    def __init__(self, run_dir: Path, folder: S3Folder, retention: Retention) -> None:
        self._run_dir = run_dir
        self._folder = folder
        self._retention = retention
        self._sent: dict[str, bytes | str | int] = {}
        """What is known to be there: content, checksum or size by name."""
        self._reported: set[str] = set()

    def update(self) -> None:
        """Sends what S3 lacks, and deletes checkpoints there that were pruned here.

        Raises what S3Folder raises; the rest is then for the next call.
        """
        remote = {item.name: item.bytes for item in self._folder.list()}
        for name in written_once(self._run_dir):
            self._send_once(name, remote)
        for name in changing(self._run_dir):
            self._send_content(name)
        names = set(remote)
        saved = saved_nimgs(self._run_dir / "checkpoints")
        for nimg in reversed(saved):
            if self._send_checkpoint(nimg, names):
                names.update(checkpoint_files(nimg))
            self._name_latest(names)
        for nimg in self._retention.superfluous(begun_nimgs(names) | set(saved)):
            if nimg not in saved:
                for name in reversed(checkpoint_files(nimg)):
                    self._folder.delete(name)

    def num_missing(self) -> int:
        """Files of the run folder that are not known to be in S3; asks no server."""
        names = written_once(self._run_dir) + changing(self._run_dir)
        for nimg in saved_nimgs(self._run_dir / "checkpoints"):
            names += checkpoint_files(nimg)
        return len(set(names) - set(self._sent.copy()))  # the other thread may be adding to it

    def _send_once(self, name: str, remote: dict[str, int]) -> None:
        path = self._run_dir / name
        size = path.stat().st_size
        # Its name and the run's say what is in it: the same length is the same file.
        if remote.get(name) != size:
            self._folder.upload(path, name, parallel=False)
        self._sent[name] = size

    def _send_content(self, name: str) -> None:
        content = (self._run_dir / name).read_bytes()
        if name == STATS:  # a record is perhaps being appended
            content = content[: content.rfind(b"\n") + 1]
        if self._sent.get(name) != content:
            self._sent.pop(name, None)
            self._folder.put(name, content)
            self._sent[name] = content

    def _send_checkpoint(self, nimg: int, remote: set[str]) -> bool:
        name, checksum_name = checkpoint_files(nimg)
        path = self._run_dir / name
        digest = stored_checksum(path)
        if digest is None:
            return False
        if self._sent.get(name) == digest:
            return True
        checksum = f"{digest}  {path.name}\n".encode()
        try:
            present = checksum_name in remote and self._folder.get(checksum_name) == checksum
            if checksum_name in remote and not present:  # that of another one at this nimg
                self._folder.delete(checksum_name)
                remote.discard(checksum_name)
            self._folder.upload(path, name, digest, parallel=False)
        except FileNotFoundError:  # pruned meanwhile
            return False
        except S3DamagedError as error:
            if digest not in self._reported:
                print(f"warning: {error}", file=sys.stderr)
                self._reported.add(digest)
            return False
        if not present:
            self._folder.put(checksum_name, checksum)
        self._sent[name] = self._sent[checksum_name] = digest
        return True

    def _name_latest(self, names: set[str]) -> None:
        newest = max(complete_nimgs(names), default=None)
        if newest is None:
            return
        name, checksum_name = checkpoint_files(newest)
        if name not in self._sent:  # it came from another machine
            self._sent[name] = parse_checksum(self._folder.get(checksum_name)) or ""
        digest = self._sent[name]
        content = json.dumps({"nimg": newest, "checkpoint": name, "sha256": digest}, indent=2)
        if self._sent.get(LATEST) != content:
            self._folder.put(LATEST, content.encode())
            self._sent[LATEST] = content
