"""The bytes do not depend on the number of processes; a killed ingest resumes; locks hold."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.executors import (
    Executor,
    process_executor,
    run_in_processes,
    run_serially,
)
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.ingest.shard_task import ShardResult, ShardTask
from pipeline.data.shards.manifest import Manifest
from pipeline.data.sources.select import open_source
from pipeline.storage.locks import locked
from tests.support.photographs import encoded, photograph
from tests.support.project import ROOT

PREPROCESSING = Preprocessing(resolution=64, channels=3)
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 240 images in two classes, some of them damaged; read it only."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(240):
        path = folder / ("cat", "dog")[index % 2] / f"{index:03}.jpg"
        path.parent.mkdir(exist_ok=True)
        content = encoded(Image.fromarray(photograph(160, 120, seed=index)), "JPEG")
        path.write_bytes(content[:500] if index % 40 == 0 else content)
    return folder


def _write(
    photos: Path, out: Path, executor: Executor = run_serially, shard_rows: int = 25
) -> Manifest:
    return write_dataset(
        open_source("folder", str(photos)), out, PREPROCESSING, heldout_fraction=0.2,
        shard_rows=shard_rows, max_rejected_fraction=0.1, executor=executor,
    )  # fmt: skip


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("num_workers", [1, 3])
def test_the_bytes_do_not_depend_on_the_number_of_workers(
    photos: Path, tmp_path: Path, num_workers: int
) -> None:
    _write(photos, tmp_path / "here")
    _write(photos, tmp_path / "there", lambda tasks: run_in_processes(tasks, num_workers))
    here = _contents(tmp_path / "here")
    assert here == _contents(tmp_path / "there")
    assert {"train-00007.arrow", "heldout-00001.arrow", "rejected.jsonl"} < here.keys()


def test_few_images_start_no_processes(photos: Path, tmp_path: Path) -> None:
    before = psutil.Process().children()
    _write(photos, tmp_path / "here", process_executor(4))
    assert psutil.Process().children() == before


PROGRAM = textwrap.dedent("""
    import sys
    from pathlib import Path
    from pipeline.data.ingest.executors import run_in_processes
    from tests.data.ingest import test_executors

    if __name__ == "__main__":
        photos, out = map(Path, sys.argv[1:])
        test_executors._write(photos, out, lambda tasks: run_in_processes(tasks, 2), 5)
""")


def _done_markers(out: Path) -> list[Path]:
    return sorted(out.with_name(out.name + ".tmp").glob("done/*.json"))


def test_a_killed_ingest_keeps_its_complete_shards(photos: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    out = tmp_path / "out" / "shards"
    process = subprocess.Popen(
        [sys.executable, str(program), str(photos), str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + PATIENCE_S
    while len(_done_markers(out)) < 4:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    workers = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    process.wait()
    gone, alive = psutil.wait_procs(workers, timeout=PATIENCE_S)
    assert gone
    assert not alive  # nobody writes any more
    assert not out.exists()

    done = [marker.stem for marker in _done_markers(out)]
    assert 4 <= len(done) < 47
    shards = tmp_path / "out" / "shards.tmp" / "shards"
    files = {name: (shards / f"{name}.arrow").stat().st_ino for name in done}
    damaged = shards / f"{done[0]}.arrow"  # as a disk may have left it
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    _write(photos, out, shard_rows=5)
    _write(photos, tmp_path / "at-once", shard_rows=5)
    assert _contents(out) == _contents(tmp_path / "at-once")
    kept = {name: (out / f"{name}.arrow").stat().st_ino for name in done}
    assert {name for name in done if kept[name] != files[name]} == {done[0]}
    assert [path.name for path in out.parent.iterdir()] == ["shards"]


def test_changed_inputs_discard_shards_of_a_killed_ingest(photos: Path, tmp_path: Path) -> None:
    def stop(tasks):
        yield run_serially(tasks[:1]).__next__()
        raise KeyboardInterrupt

    for preprocessing in (PREPROCESSING, Preprocessing(resolution=64, channels=3, resize="box")):
        with pytest.raises(KeyboardInterrupt):
            write_dataset(
                open_source("folder", str(photos)), tmp_path / "shards", preprocessing,
                heldout_fraction=0.2, shard_rows=25, executor=stop,
            )  # fmt: skip
    _write(photos, tmp_path / "shards")
    _write(photos, tmp_path / "at-once")
    assert _contents(tmp_path / "shards") == _contents(tmp_path / "at-once")


def test_a_second_ingest_into_one_folder_is_refused(photos: Path, tmp_path: Path) -> None:
    staging = tmp_path / "shards.tmp"
    staging.mkdir()
    with (
        locked(staging / "lock"),
        pytest.raises(UserError, match=f"process {os.getpid()} is writing shards"),
    ):
        _write(photos, tmp_path / "shards")
    _write(photos, tmp_path / "shards")


@pytest.fixture
def small_disk(tmp_path: Path, mount_disk: Callable[[Path, str], Path]) -> Path:
    """A file system of 2 MiB."""
    return mount_disk(tmp_path / "disk", "2m")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_full_disk_is_a_user_error_and_the_ingest_resumes(
    photos: Path, tmp_path: Path, small_disk: Path, num_workers: int
) -> None:
    def run(tasks: Sequence[ShardTask]) -> Iterator[ShardResult]:
        return run_in_processes(tasks, num_workers) if num_workers else run_serially(tasks)

    out = small_disk / "shards"
    with pytest.raises(UserError, match=r"shards\.tmp has no room left: .* to go on, or choose"):
        _write(photos, out, run, shard_rows=5)
    assert len(_done_markers(out)) > 5
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    _write(photos, out, shard_rows=5)
    _write(photos, tmp_path / "at-once", shard_rows=5)
    assert _contents(out) == _contents(tmp_path / "at-once")


class _Ending:
    """A reader at which a worker ends."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number

    def __call__(self, items):
        os.kill(os.getpid(), self.signal_number)
        yield np.zeros((8, 8), np.uint8)


class _Failing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, items):
        raise self.error
        yield


@pytest.mark.parametrize(
    ("reader", "error", "message"),
    [
        (_Ending(signal.SIGKILL), UserError, "killed a worker .* lower runtime.ingest_workers"),
        (_Ending(signal.SIGTERM), RuntimeError, "ended with exit code -15"),
        (_Failing(UserError("no such bucket")), UserError, "no such bucket"),
        (_Failing(ValueError("a defect")), ValueError, "a defect"),
    ],
)
def test_the_end_of_a_worker_is_reported(
    photos: Path, tmp_path: Path, reader: object, error: type[Exception], message: str
) -> None:
    source = dataclasses.replace(open_source("folder", str(photos)), read=reader)
    with pytest.raises(error, match=message):
        write_dataset(
            source, tmp_path / "shards", PREPROCESSING, heldout_fraction=0.2, shard_rows=100,
            executor=lambda tasks: run_in_processes(tasks, 2),
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
