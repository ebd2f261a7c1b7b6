"""A run folder and its backup on a real S3 server."""

import hashlib
import json
import shutil
import time
from pathlib import Path

import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.runs.backup import Backup, RunBackup, open_backup
from pipeline.runs.checkpoints import Checkpoints, Retention
from pipeline.storage.s3 import S3Folder
from pipeline.storage.s3_errors import S3UnavailableError
from tests.support.s3_server import serve_s3

RETENTION = Retention(keep=2, interval_nimg=100)
KEY = "k" * 64


@pytest.fixture(scope="module")
def server():
    with serve_s3() as server:
        yield server


@pytest.fixture
def bucket(server):
    """A folder in an empty bucket."""
    return server.folder()


def backup_of(run_dir: Path, bucket: S3Folder, close_s: float = 10) -> RunBackup:
    return RunBackup(run_dir, bucket, RETENTION, close_s)


def checkpoints_of(run_dir: Path, backup: Backup) -> Checkpoints:
    return Checkpoints(run_dir / "checkpoints", KEY, 2, 100, on_saved=backup.notify)


def write_outputs(run_dir: Path, nimg: int) -> None:
    for name in (f"snapshots/generator-{nimg}.safetensors", f"samples/samples-{nimg}.png"):
        (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (run_dir / name).write_bytes(f"{name} of {nimg}".encode())
    (run_dir / "config.json").write_text("{}")
    with (run_dir / "stats.jsonl").open("a") as stats:
        stats.write(f'{{"nimg": {nimg}}}\n')


def train(run_dir: Path, bucket: S3Folder, nimgs: list[int]) -> None:
    with backup_of(run_dir, bucket) as backup:
        backup.restore(max(nimgs))
        with checkpoints_of(run_dir, backup) as checkpoints:
            for nimg in nimgs:
                write_outputs(run_dir, nimg)
                checkpoints.save({"nimg": nimg, "weight": torch.full((1000,), float(nimg))})


def newest(run_dir: Path, up_to_nimg: int = 10**6) -> int:
    state = Checkpoints(run_dir / "checkpoints", KEY, 2, 100).load_newest(up_to_nimg)
    return 0 if state is None else int(state["weight"][0])


def content_of(run_dir: Path) -> dict[str, bytes]:
    files = (path for path in run_dir.rglob("*") if path.is_file())
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in files}


def content_in(folder: S3Folder) -> dict[str, bytes]:
    return {item.name: folder.get(item.name) for item in folder.list()}


def test_backup_is_the_run_folder_and_names_its_newest(bucket, tmp_path, capsys):
    run = tmp_path / "run"
    train(run, bucket, list(range(100, 1000, 100)))
    content = content_in(bucket.folder(run.name))
    latest = json.loads(content.pop("latest.json"))
    assert content == content_of(run)
    kept = sorted(name for name in content if name.endswith(".pt"))
    assert [int(name[-12:-3]) for name in kept] == [100, 200, 400, 800, 900]
    assert latest == {
        "nimg": 900,
        "checkpoint": "checkpoints/checkpoint-000000900.pt",
        "sha256": hashlib.sha256(content[kept[-1]]).hexdigest(),
    }
    assert capsys.readouterr().err == ""


def test_data_goes_up_before_what_names_it(bucket, server, tmp_path):
    train(tmp_path / "run", bucket, [100])
    puts = [path for method, path in server.requests if method == "PUT"]
    last = [path.partition("/run/")[2].rstrip("?") for path in puts]
    name = "checkpoints/checkpoint-000000100.pt"
    assert last[-3:] == [name, f"{name}.sha256", "latest.json"]
    assert {path.split("/")[0] for path in last[:-3]} == {
        "snapshots",
        "samples",
        "config.json",
        "stats.jsonl",
    }


def test_what_is_there_is_not_sent_again_and_a_torn_record_not_at_all(bucket, server, tmp_path):
    run = tmp_path / "run"
    train(run, bucket, [100])
    server.heal()
    with (run / "stats.jsonl").open("a") as stats:
        stats.write('{"torn": ')
    with backup_of(run, bucket):
        pass
    sent = {path.rpartition("/")[2] for method, path in server.requests if method == "PUT"}
    assert not {name for name in sent if "100" in name}
    assert bucket.folder(run.name).get("stats.jsonl") == b'{"nimg": 100}\n'


def test_another_machine_goes_on_where_the_first_stopped(bucket, tmp_path, capsys):
    first, second = tmp_path / "first" / "run", tmp_path / "second" / "run"
    train(first, bucket, [100, 200, 300, 350])
    with backup_of(second, bucket) as backup:
        backup.restore(320)
        assert newest(second) == 300
        backup.restore(10**6)
        assert newest(second) == 350
    assert "going on from s3://" in capsys.readouterr().err
    beside = {name: b for name, b in content_of(second).items() if "checkpoint" not in name}
    assert beside == {name: b for name, b in content_of(first).items() if "checkpoint" not in name}
    train(second, bucket, [400, 500])
    kept = [item.name for item in bucket.folder(second.name).list() if item.name.endswith(".pt")]
    assert [int(name[-12:-3]) for name in kept] == [100, 200, 400, 500]
    shutil.rmtree(second)
    with backup_of(second, bucket) as backup:
        backup.restore(10**6)
    assert newest(second) == 500


def test_a_run_folder_that_is_ahead_or_equal_fetches_nothing(bucket, server, tmp_path):
    run = tmp_path / "run"
    train(run, bucket, [100, 200])
    (run / "stats.jsonl").write_text("mine\n")
    server.heal()
    with backup_of(run, bucket) as backup:
        backup.restore(10**6)
        assert server.count("GET", "checkpoint|stats") == 0
    assert (run / "stats.jsonl").read_text() == "mine\n"


@pytest.mark.parametrize("kind", ["truncated", "flipped", "missing", "no checksum", "bad checksum"])
def test_damaged_newest_in_the_backup_falls_back_with_a_warning(
    bucket, server, tmp_path, capsys, kind
):
    run = tmp_path / "run"
    train(run, bucket, [100, 200])
    shutil.rmtree(run)
    folder, name = bucket.folder(run.name), "checkpoints/checkpoint-000000200.pt"
    body = folder.get(name)
    changed = {"truncated": body[:-1], "flipped": body[:-9] + b"?" + body[-8:]}
    if kind in changed:
        server.client.put_object(
            Bucket=folder.address.bucket, Key=folder.address.key(name), Body=changed[kind]
        )
    elif kind == "missing":
        folder.delete(name)
    elif kind == "no checksum":
        folder.delete(name + ".sha256")
    else:
        folder.put(name + ".sha256", b"nonsense")
    with backup_of(run, bucket) as backup:
        backup.restore(10**6)
    assert newest(run) == 100
    error = capsys.readouterr().err
    assert f"warning: {'downloading ' * (kind in changed)}{folder.address}/{name}" in error
    assert "trying the one before it" in error
    assert not list(run.glob("checkpoints/*200*"))
    train(run, bucket, [200])
    assert folder.get(name) == (run / name).read_bytes()


def test_damaged_own_newest_is_fetched_from_the_backup(bucket, tmp_path):
    run = tmp_path / "run"
    train(run, bucket, [100, 200])
    path = run / "checkpoints" / "checkpoint-000000200.pt"
    path.write_bytes(path.read_bytes()[:100])
    with backup_of(run, bucket) as backup:
        backup.restore(10**6)
    assert newest(run) == 200


def test_damaged_own_checkpoint_does_not_spread(bucket, tmp_path, capsys):
    run = tmp_path / "run"
    train(run, bucket, [100])
    with checkpoints_of(run, Backup()) as checkpoints:
        checkpoints.save({"nimg": 200, "weight": torch.zeros(1000)})
    path = run / "checkpoints" / "checkpoint-000000200.pt"
    path.write_bytes(path.read_bytes()[:-1])
    with backup_of(run, bucket) as backup:
        backup.notify()
    assert json.loads(bucket.folder(run.name).get("latest.json"))["nimg"] == 100
    error = capsys.readouterr().err
    assert error.count(f"{path} is not what its checksum says") == 1


def test_checksum_of_a_checkpoint_that_was_written_anew_does_not_outlive_it(
    bucket, server, tmp_path, capsys
):
    run, folder = tmp_path / "run", bucket.folder("run")
    train(run, bucket, [100])
    with checkpoints_of(run, Backup()) as checkpoints:
        checkpoints.save({"nimg": 100, "weight": torch.full((1000,), 7.0)})
    server.fail("403 AccessDenied", method="PUT", path="sha256")
    backup_of(run, bucket).close()
    assert "access is denied" in capsys.readouterr().err
    names = {item.name for item in folder.list()}
    assert "checkpoints/checkpoint-000000100.pt" in names
    assert "checkpoints/checkpoint-000000100.pt.sha256" not in names
    server.heal()
    backup_of(run, bucket).close()
    shutil.rmtree(run)
    backup_of(run, bucket).restore(100)
    assert newest(run) == 7


def test_restart_leaves_nothing_in_the_backup(bucket, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    train(run, bucket, [100])
    train(other, bucket, [100])
    with backup_of(tmp_path / "run", bucket) as backup:
        shutil.rmtree(run)
        backup.discard()
        backup.restore(10**6)
    assert newest(run) == 0
    assert list(bucket.folder(run.name).list()) == []
    assert list(bucket.folder(other.name).list()) != []


def test_names_that_lead_out_of_the_run_folder_are_ignored(bucket, tmp_path):
    run = tmp_path / "a" / "run"
    train(run, bucket, [100])
    shutil.rmtree(run)
    folder = bucket.folder(run.name)
    for name in ("samples/../../x.png", "samples/x/y.png", "samples/", "../config.json", "lock"):
        folder.put(name, b"evil")
    with backup_of(run, bucket) as backup:
        backup.restore(10**6)
    assert newest(run) == 100
    assert b"evil" not in content_of(tmp_path).values()


def test_no_backup(tmp_path):
    with open_backup(None, tmp_path, RETENTION) as backup:
        backup.restore(100)
        backup.discard()
        backup.notify()
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_told_before_training(bucket, server, tmp_path):
    with pytest.raises(UserError, match="must look like s3://bucket/prefix"):
        open_backup("bucket/prefix", tmp_path, RETENTION)
    backup = open_backup("s3://no-such-bucket/runs", tmp_path, RETENTION)
    with pytest.raises(UserError, match="the bucket does not exist"):
        backup.restore(100)
    server.fail("403 AccessDenied")
    with pytest.raises(UserError, match="access is denied"):
        backup_of(tmp_path, bucket).restore(100)


def test_without_s3_a_run_goes_on_from_its_own_checkpoint_but_does_not_start_afresh(
    bucket, server, tmp_path, capsys
):
    run = tmp_path / "run"
    train(run, bucket, [100])
    server.fail("503 SlowDown")
    backup_of(run, bucket).restore(10**6)
    assert "503 SlowDown" in capsys.readouterr().err
    assert newest(run) == 100
    shutil.rmtree(run)
    with pytest.raises(S3UnavailableError, match="503 SlowDown"):
        backup_of(run, bucket).restore(10**6)


def test_training_does_not_notice_a_slow_or_absent_s3(bucket, server, tmp_path, capsys):
    run = tmp_path / "run"
    write_outputs(run, 100)
    with backup_of(run, bucket) as backup:
        server.fail("delay", seconds=0.3, times=2)
        server.fail("drop")
        checkpoints = checkpoints_of(run, backup)
        started = time.perf_counter()
        for nimg in range(100, 1000, 100):
            checkpoints.save({"nimg": nimg, "weight": torch.full((1000,), float(nimg))})
            time.sleep(0.05)
        checkpoints.close()
        assert time.perf_counter() - started < 20  # the retries of one upload take longer
        while not backup._failure:
            time.sleep(0.01)
        server.heal()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"the backup of {run} falls behind while training goes on" in error
    content = content_in(bucket.folder(run.name))
    del content["latest.json"]
    assert content == content_of(run)


def test_what_a_dead_s3_missed_is_sent_by_the_next_run(bucket, server, tmp_path, capsys):
    run = tmp_path / "run"
    write_outputs(run, 100)
    server.fail("delay", seconds=1.0)
    backup = backup_of(run, bucket, close_s=0.3)
    with checkpoints_of(run, backup) as checkpoints:
        checkpoints.save({"nimg": 100, "weight": torch.full((1000,), 100.0)})
    started = time.perf_counter()
    backup.close()
    assert time.perf_counter() - started < 5  # its six files would take 6 s
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{bucket.address}/run misses 6 files of {run} (S3 is slow); the next run" in error
    server.heal()
    with backup_of(run, bucket):
        pass
    content = content_in(bucket.folder(run.name))
    del content["latest.json"]
    assert content == content_of(run)
