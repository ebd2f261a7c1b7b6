"""20 kills at random moments of one mirrored run, each followed by the same command."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from pipeline.storage.s3 import S3Folder
from pipeline.tracking.jsonl import MetricsRecord, parse_record
from pipeline.training.checkpoint_files import checkpoint_name, is_intact, saved_nimgs
from tests.faults.conftest import COMMAND, Project, environment, wait_for
from tests.faults.frozen import frozen, poll
from tests.storage.s3_server import FaultyS3, serve_s3
from tests.training.test_session import assert_equal_weights

BATCH = 8
INTERVAL = 3 * BATCH  # images between checkpoints
TOTAL = 320 * BATCH
ANSWER_S = 0.15  # every upload's answer takes so long
PUT_CHECKPOINT, PUT_SNAPSHOT = r"checkpoint-\d+\.pt\?", r"generator-\d+\.safetensors\?"

# What is killed, where it stands then, how often. `all` are dvc, its shell and the stage.
PLAN = (
    ("stage", "step", 4),
    ("stage", "checkpoint", 5),
    ("stage", "checkpoint upload", 3),
    ("stage", "snapshot upload", 2),
    ("dvc", "step", 1),
    ("dvc", "checkpoint", 1),
    ("dvc", "checkpoint upload", 1),
    ("all", "step", 1),
    ("all", "checkpoint", 1),
    ("all", "snapshot upload", 1),
)


class Attempt:
    """The stage, running by itself or under dvc."""

    def __init__(self, project: Project, victim: str) -> None:
        self.folder = project.folder
        self.log = self.folder / "log"
        self.run_dir = next(iter(self.folder.glob("runs/*")), None)
        self._num_before = len(self._lines())
        command = COMMAND if victim == "stage" else [sys.executable, "-m", "dvc", "repro"]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        poll(self.records, 60, self.told)
        self.members = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        (self.trainer,) = (
            psutil.Process(member.pid)
            for member in self.members
            if _is_trainer(psutil.Process(member.pid))
        )

    def told(self) -> str:
        """What stage and dvc have said."""
        return self.log.read_text()

    def records(self) -> list[MetricsRecord]:
        """One for each step of this attempt."""
        if self.run_dir is None:
            self.run_dir = next(iter(self.folder.glob("runs/*")), None)
        return [
            record
            for record in map(parse_record, self._lines()[self._num_before :])
            if isinstance(record, MetricsRecord)
        ]

    def writes(self, pattern: str) -> bool:
        """Whether a temporary file lies there."""
        assert self.run_dir is not None
        return any(self.run_dir.glob(pattern))

    def _lines(self) -> list[bytes]:
        path = self.run_dir / "stats.jsonl" if self.run_dir is not None else None
        if path is None or not path.exists():
            return []
        return path.read_bytes().split(b"\n")[:-1]


def _is_trainer(process: psutil.Process) -> bool:
    return "stages.train" in process.cmdline() and "python" in process.name()


def newest_intact(folder: Path) -> int:
    """Where the newest usable checkpoint stands; 0 without one."""
    for checkpoints in folder.glob("runs/*/checkpoints"):
        for nimg in reversed(saved_nimgs(checkpoints)):
            if is_intact(checkpoints / checkpoint_name(nimg)):
                return nimg
    return 0


def kill(attempt: Attempt, victim: str, moment: str, server: FaultyS3, dice: random.Random) -> int:
    """Kills at such a moment and returns where the run stood; asserts that it was one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        has_come = _moment(attempt, moment, server, dice)
        with frozen(member.pid for member in attempt.members):
            assert attempt.process.poll() is None, attempt.told()
            stood_at = attempt.records()[-1].nimg
            assert stood_at < TOTAL
            if not has_come():
                continue  # it was too short
            if victim == "all":
                os.killpg(attempt.process.pid, signal.SIGKILL)
            else:
                attempt.process.kill()
        assert attempt.process.wait() == -signal.SIGKILL
        # An orphan notices that dvc is gone, saves where it stands, and ends.
        wait_for(lambda: _has_ended(attempt.trainer), timeout_s=30)
        return stood_at
    raise AssertionError(f"no {moment} came: {attempt.told()}")


def _moment(
    attempt: Attempt, moment: str, server: FaultyS3, dice: random.Random
) -> Callable[[], bool]:
    """Waits for it to begin and a little more; the answer says whether it still lasts."""
    if moment == "step":
        time.sleep(dice.uniform(0, 0.2))
        return lambda: not attempt.writes("*/*.tmp")
    if moment == "checkpoint":
        poll(lambda: attempt.writes("checkpoints/*.pt.tmp"), 60, attempt.told)
        time.sleep(dice.choice([0, dice.uniform(0, 0.003)]))
        return lambda: attempt.writes("checkpoints/*.pt.tmp")
    path = PUT_CHECKPOINT if moment == "checkpoint upload" else PUT_SNAPSHOT
    count = server.count("PUT", path)
    begun_s = 0.0

    def has_begun() -> bool:
        nonlocal begun_s
        if server.count("PUT", path) > count:
            return True
        begun_s = time.monotonic()
        return False

    poll(has_begun, 60, attempt.told)
    time.sleep(dice.uniform(0, ANSWER_S / 2))
    return lambda: time.monotonic() < begun_s + ANSWER_S  # it has no answer yet


def _has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def make_repro(project: Project) -> None:
    """Lets dvc run the stage there."""
    stage = {
        "cmd": "python -m stages.train --shards shards --out model",
        "deps": ["params.yaml"],
        "outs": ["model"],
    }
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}))
    subprocess.run(
        [sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=project.folder, check=True
    )


def configure(project: Project, mirror: str | None) -> None:
    path = project.folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["train"] |= {
        "batch": BATCH,
        "total_kimg": TOTAL / 1000,
        "snapshot_kimg": 20 * BATCH / 1000,
    }
    params["runtime"] |= {
        "status_kimg": BATCH / 1000,
        "checkpoint_kimg": INTERVAL / 1000,
        "mirror": mirror,
    }
    path.write_text(yaml.safe_dump(params))


def assert_equal_states(first: Any, second: Any) -> None:
    """All but the time that they took."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            if key != "elapsed_s":
                assert_equal_states(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for pair in zip(first, second, strict=True):
            assert_equal_states(*pair)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


@pytest.fixture
def server():
    with serve_s3() as server:
        yield server


def test_20_kills_cost_no_more_than_the_time_since_the_last_checkpoint(make_project, server):
    undisturbed = make_project("undisturbed")
    configure(undisturbed, mirror=None)
    reference = undisturbed.start()
    project = make_project("killed")
    bucket = server.new_bucket()
    configure(project, mirror=bucket)
    make_repro(project)
    server.fail("delay", method="PUT", seconds=ANSWER_S)
    dice = random.Random(20)
    kills = [(victim, moment) for victim, moment, times in PLAN for _ in range(times)]
    dice.shuffle(kills)
    assert len(kills) == 20
    for victim, moment in kills:
        newest = newest_intact(project.folder)
        attempt = Attempt(project, victim)
        assert attempt.records()[0].nimg - BATCH == newest, attempt.told()
        stood_at = kill(attempt, victim, moment, server, dice)
        # One checkpoint may be under way while the next falls due.
        lost = stood_at - newest_intact(project.folder)
        assert lost <= (0 if victim == "dvc" else 2 * INTERVAL)
    assert newest_intact(project.folder) > 20 * BATCH
    model = project.finish()
    output, _ = reference.communicate(timeout=120)
    assert reference.returncode == 0, output
    assert_equal_weights(model, undisturbed.folder / "model")
    states = [
        torch.load(each.checkpoints()[-1], weights_only=True) for each in (project, undisturbed)
    ]
    assert states[0]["nimg"] == TOTAL
    assert_equal_states(*states)
    mirrored = S3Folder(bucket).folder(attempt.run_dir.name)
    newest = project.checkpoints()[-1]
    assert mirrored.get(f"checkpoints/{newest.name}") == newest.read_bytes()
