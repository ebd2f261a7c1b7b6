"""The backup of a run folder in S3, kept on a thread that never delays training."""

import sys
import threading
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.runs.backup_transfer import RunUpload, restore_run
from pipeline.runs.checkpoints import Retention
from pipeline.storage.s3 import S3Folder


class Backup:
    """No backup: every call does nothing. As a context it closes itself."""

    def restore(self, up_to_nimg: int) -> None:
        """Before training: downloads a checkpoint that is newer than those of the run folder.

        Raises UserError where S3 cannot be reached and the run folder has no checkpoint.
        """

    def discard(self) -> None:
        """Deletes the run's files in the backup; for a run that starts afresh."""

    def notify(self) -> None:
        """Called after each new checkpoint; returns at once."""

    def close(self) -> None:
        """Waits a limited time until the backup is complete; the last call."""

    def __enter__(self) -> "Backup":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class RunBackup(Backup):
    """A copy in S3 below `folder`, under the run folder's name; one process at a time writes it.

    Checkpoints that were pruned are deleted there too. A failure is reported on stderr once; the
    upload is tried again at the next checkpoint, at the end, and by the next run.
    """

    def __init__(
        self,
        run_dir: Path,
        folder: S3Folder,
        retention: Retention,
        close_s: float = 20.0,
    ) -> None:
        """Sends no request; `close` waits at most `close_s` seconds."""
        self._run_dir = run_dir
        self._folder = folder.folder(run_dir.name)
        self._upload = RunUpload(run_dir, self._folder, retention)
        self._close_s = close_s
        self._failure: str | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        # A daemon: a server that never answers must not keep the process from ending.
        self._thread = threading.Thread(target=self._follow, name="run-backup", daemon=True)
        self._thread.start()

    def restore(self, up_to_nimg: int) -> None:
        restore_run(self._run_dir, self._folder, up_to_nimg)

    def discard(self) -> None:
        # First the files without which the others do not count.
        for suffix in ("latest.json", ".sha256", ""):
            for item in list(self._folder.list()):
                if item.name.endswith(suffix):
                    self._folder.delete(item.name)

    def notify(self) -> None:
        self._wake.set()

    def close(self) -> None:
        self._closing.set()
        self._wake.set()
        self._thread.join(self._close_s)
        cause = "S3 is slow" if self._thread.is_alive() else self._failure
        if cause is not None:
            print(
                f"warning: {self._folder.address} misses {self._upload.num_missing()} files of "
                f"{self._run_dir} ({cause}); the next run of the same command sends them",
                file=sys.stderr,
            )

    def _follow(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing.is_set()
            try:
                self._upload.update()
                self._failure = None
            except Exception as error:  # no failure of S3 may end the training
                self._report(error)
            if closing:
                return

    def _report(self, error: Exception) -> None:
        # The text of another exception may hold credentials.
        shown = isinstance(error, UserError | OSError)
        failure = str(error) if shown else type(error).__name__
        if self._failure is None and not self._closing.is_set():  # `close` reports it itself
            print(
                f"warning: the backup of {self._run_dir} falls behind while training goes on: "
                f"{failure}",
                file=sys.stderr,
            )
        self._failure = failure


def open_backup(
    address: str | None, run_dir: Path, retention: Retention, close_s: float = 20.0
) -> Backup:
    """The backup of a run folder at `<address>/<its name>/`, or none where the address is None.

    Raises UserError for a malformed address and for boto3's settings.
    """
    if address is None:
        return Backup()
    return RunBackup(run_dir, S3Folder(address), retention, close_s)
