"""Shards that are checked, sent to S3 and trained from there, through the stages' own commands."""

import shutil

import pytest

from tests.support.forks import run_command
from tests.support.s3_server import serve_s3
from tests.support.train_project import TRAIN
from tests.support.weights import assert_equal_weights


@pytest.fixture(scope="module")
def server():
    with serve_s3() as server:
        yield server


def test_training_from_a_bucket_is_training_from_a_folder(make_project, undisturbed, server):
    project = make_project("bucket")
    address = f"{server.new_bucket()}/digits"
    sent = run_command(project.folder, "stages.shard", "--out", "own-shards", "--to", address)
    assert sent.returncode == 0, sent.stderr
    assert f"{address}: 2 shards sent" in sent.stdout
    again = run_command(project.folder, "stages.shard", "--out", "own-shards", "--to", address)
    assert "0 shards sent (0.0 MB), 2 there before" in again.stdout
    shutil.rmtree(project.folder / "own-shards")

    command = [part if part != "shards" else address for part in TRAIN]
    trained = run_command(project.folder, *command)
    assert trained.returncode == 0, trained.stderr
    assert_equal_weights(project.folder / "model", undisturbed)
    assert list((project.folder / "data" / "cache").rglob("*.arrow"))


def test_damaged_shards_are_found(make_project):
    project = make_project("damaged")
    assert run_command(project.folder, "stages.shard", "--out", "own-shards").returncode == 0
    intact = run_command(project.folder, "stages.shard", "--verify", "own-shards")
    assert (intact.returncode, intact.stderr) == (0, "")
    assert "1797 images intact" in intact.stdout
    shard = project.folder / "own-shards" / "train-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    damaged = run_command(project.folder, "stages.shard", "--verify", "own-shards")
    assert damaged.returncode == 2
    assert "own-shards/train-00000.arrow is damaged" in damaged.stderr
    assert "Traceback" not in damaged.stderr


def test_shard_without_a_place_says_so(make_project):
    done = run_command(make_project("nowhere").folder, "stages.shard")
    assert done.returncode == 2
    assert "error: --out is missing" in done.stderr
