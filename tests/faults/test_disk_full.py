"""The disk fills up while a checkpoint is written."""

import os
import re

import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.runs.backup import RunBackup
from pipeline.runs.checkpoints import Checkpoints, Retention
from pipeline.storage.s3 import S3Folder
from tests.support.s3_server import serve_s3

KEY = "k" * 64


@pytest.fixture
def small_disk(tmp_path, mount_disk):
    """A file system of 4 MiB."""
    return mount_disk(tmp_path / "disk", "4m")


def state_at(nimg: int, num_bytes: int) -> dict:
    return {"nimg": nimg, "weight": torch.full((num_bytes // 4,), float(nimg))}


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Full in the middle of the tensors, at the first byte, and in the archive's directory at its end.
@pytest.mark.parametrize("room", [700_000, 0, 1_001_000])
@pytest.mark.parametrize("meet", ["save", "close"])
def test_one_sentence_and_the_checkpoints_before_are_intact(small_disk, room, meet, capfd):
    folder = small_disk / "checkpoints"
    checkpoints = Checkpoints(folder, KEY, 2, 100)
    checkpoints.save(state_at(100, 1_000_000))
    checkpoints.flush()
    before = names(folder)
    pages = os.statvfs(small_disk).f_bavail - room // 4096
    (small_disk / "filler").write_bytes(b"x" * (pages * 4096))
    checkpoints.save(state_at(200, 1_000_000))
    with pytest.raises(UserError, match=r"^[^\n]+$") as caught:
        checkpoints.close() if meet == "close" else checkpoints.save(state_at(300, 1_000_000))
    text = str(caught.value)
    assert re.match(
        rf"{folder} has no room for checkpoint-000000200.pt: it needs 1\.0 MB and [01]\.\d MB are "
        r"free; free some .* or set runtime\.runs_dir to a larger disk",
        text,
    )
    assert names(folder) == before
    assert checkpoints.load_newest(300)["weight"][0] == 100
    (small_disk / "filler").unlink()
    checkpoints.save(state_at(400, 1_000_000))
    checkpoints.close()
    assert checkpoints.load_newest(400)["weight"][0] == 400
    assert capfd.readouterr() == ("", "")


def test_the_exception_that_ends_training_is_not_hidden(small_disk, capsys):
    def interrupted() -> None:
        with Checkpoints(small_disk / "checkpoints", KEY, 2, 100) as checkpoints:
            checkpoints.save(state_at(100, 8_000_000))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "has no room for checkpoint-000000100.pt" in capsys.readouterr().err


def test_checkpoint_from_the_backup_that_does_not_fit(small_disk, tmp_path):
    with serve_s3() as server:
        bucket: S3Folder = server.folder()
        retention = Retention(keep=2, interval_nimg=100)
        with (
            RunBackup(tmp_path / "run", bucket, retention) as backup,
            Checkpoints(tmp_path / "run" / "checkpoints", KEY, 2, 100, backup.notify) as saved,
        ):
            saved.save(state_at(100, 8_000_000))
        with (
            RunBackup(small_disk / "run", bucket, retention) as backup,
            pytest.raises(UserError, match=r"has no room for checkpoint-000000100\.pt: it needs 8"),
        ):
            backup.restore(100)
    assert names(small_disk / "run" / "checkpoints") == []
