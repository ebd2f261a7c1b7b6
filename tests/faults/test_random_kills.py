"""20 kills at random moments of one run with a backup, each followed by the same command."""

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipeline.storage.s3 import S3Folder
from tests.faults.attempt import (
    DVC,
    Attempt,
    has_ended,
    make_repro,
    newest_intact,
)
from tests.faults.frozen import frozen, poll
from tests.support.processes import wait_for
from tests.support.s3_server import FaultyS3, serve_s3
from tests.support.train_project import TRAIN, Project
from tests.support.weights import assert_equal_weights

BATCH = 8
INTERVAL = 3 * BATCH  # images between checkpoints
TOTAL = 200 * BATCH
ANSWER_S = 0.05  # every upload's answer takes so long
UPLOADS = {
    "checkpoint upload": r"checkpoint-\d+\.pt\?",
    "snapshot upload": r"generator-\d+\.safetensors\?",
}

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


def kill(attempt: Attempt, victim: str, moment: str, server: FaultyS3, dice: random.Random) -> int:
    """Kills at such a moment, and at no other; the nimg at which the run then stood."""
    members, trainer = attempt.members(), attempt.trainer()
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        still_lasts = _await_moment(attempt, moment, server, dice)
        with frozen(member.pid for member in members):
            assert attempt.process.poll() is None, attempt.told()
            stood_at = attempt.records()[-1].nimg
            assert stood_at < TOTAL, "the run was over too soon"
            if not still_lasts():
                continue  # it was over before all stood still: wait for another one
            if victim == "all":
                attempt.kill_all()
            else:
                attempt.process.kill()
        # When dvc alone dies, its orphan notices, saves where it stands and ends.
        wait_for(lambda: has_ended(trainer), timeout_s=30)
        assert attempt.end() < 0
        return stood_at
    raise AssertionError(f"no {moment} came: {attempt.told()}")


def _await_moment(
    attempt: Attempt, moment: str, server: FaultyS3, dice: random.Random
) -> Callable[[], bool]:
    """Waits for the moment to begin and a little more; the answer tells whether it still lasts."""
    if moment == "step":
        time.sleep(dice.uniform(0, 0.2))
        return lambda: not attempt.writes("*/*.tmp")
    if moment == "checkpoint":
        poll(lambda: attempt.writes("checkpoints/*.pt.tmp"), 240, attempt.told)
        time.sleep(dice.choice([0, dice.uniform(0, 0.003)]))
        return lambda: attempt.writes("checkpoints/*.pt.tmp")
    num_before = server.count("PUT", UPLOADS[moment])
    not_before_s = 0.0

    def has_begun() -> bool:
        nonlocal not_before_s
        if server.count("PUT", UPLOADS[moment]) > num_before:
            return True
        not_before_s = time.monotonic()
        return False

    poll(has_begun, 240, attempt.told)
    time.sleep(dice.uniform(0, ANSWER_S / 2))
    return lambda: time.monotonic() < not_before_s + ANSWER_S  # the server has not answered yet


def prepare(project: Project, backup: str | None) -> None:
    project.configure(
        train={"batch": BATCH, "total_kimg": TOTAL / 1000, "snapshot_kimg": 20 * BATCH / 1000},
        runtime={
            "status_kimg": BATCH / 1000,
            "checkpoint_kimg": INTERVAL / 1000,
            "mirror": backup,
        },
    )


def assert_equal_states(first: Any, second: Any) -> None:
    """All but the time that they took."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first.keys() - {"elapsed_s"}:
            assert_equal_states(first[key], second[key])
    elif isinstance(first, list | tuple):
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


@pytest.mark.slow
def test_20_kills_cost_no_more_than_the_time_since_the_last_checkpoint(make_project, server):
    project, undisturbed = make_project("killed"), make_project("undisturbed")
    bucket = server.new_bucket()
    prepare(project, backup=bucket)
    make_repro(project)
    prepare(undisturbed, backup=None)
    server.fail("delay", method="PUT", seconds=ANSWER_S)
    dice = random.Random(20)
    kills = [(victim, moment) for victim, moment, times in PLAN for _ in range(times)]
    dice.shuffle(kills)
    assert len(kills) == 20
    with Attempt(undisturbed) as reference:
        for victim, moment in kills:
            saved_at = newest_intact(project.folder)
            with Attempt(project, TRAIN if victim == "stage" else [*DVC, "repro"]) as attempt:
                attempt.await_training()
                assert attempt.records()[0].nimg - BATCH == saved_at, attempt.told()
                stood_at = kill(attempt, victim, moment, server, dice)
            lost = stood_at - newest_intact(project.folder)
            # A checkpoint may have been under way when the next one fell due.
            assert lost <= (0 if victim == "dvc" else 2 * INTERVAL)
        model = project.finish()
        assert reference.end() == 0, reference.told()
    assert_equal_weights(model, undisturbed.folder / "model")
    newest = project.checkpoints()[-1]
    state = torch.load(newest, weights_only=True)
    assert state["nimg"] == TOTAL
    assert_equal_states(state, torch.load(undisturbed.checkpoints()[-1], weights_only=True))
    in_backup = S3Folder(bucket).folder(newest.parents[1].name)
    assert in_backup.get(f"checkpoints/{newest.name}") == newest.read_bytes()
