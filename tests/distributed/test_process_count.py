"""The number of processes is no part of the result."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from pipeline.tracking.jsonl import STATS_NAME, read_stats
from pipeline.training.state import TrainState
from tests.distributed.job import finish, newest_state, start, train, train_in_turn
from tests.support.processes import wait_for
from tests.support.tiny_run import TINY

STEPS_20 = 20 * 16 / 1000
GHOST = {"generator": {"bn_statistics": "ghost", "bn_ghost_batch": 4}}

_FP64 = {"precision": "fp64", "total_kimg": STEPS_20, "snapshot_kimg": STEPS_20}
_FP32 = _FP64 | {"precision": "fp32"}
_OTHER = {
    "precision": "fp64",
    "snapshot_kimg": TINY.total_kimg,
    "d_steps": 2,
    "flip": True,
    "diffaugment": ["color", "translation", "cutout"],
    "discriminator": {"conditioning": "auxiliary-classifier"},
}
# Changes to TINY, and the numbers of processes that train it.
SYSTEMS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "global-fp64": (_FP64, (1, 2, 4)),
    "global-fp32": (_FP32, (1, 2, 4)),
    "ghost-fp64": (_FP64 | GHOST, (1, 2, 4)),
    "ghost-fp32": (_FP32 | GHOST, (1, 2, 4)),
    "ghost-in-parts": (_FP64 | GHOST | {"runtime": {"batch_per_process": 4}}, (2,)),
    "process": (_FP64 | {"generator": {"bn_statistics": "process"}}, (1, 2)),
    "wasserstein-gp": (_OTHER | {"loss": "wasserstein-gp"}, (1, 2)),
    "hinge": (_OTHER | {"loss": "hinge"}, (1, 2)),
}

FP32 = pytest.param("fp32", marks=pytest.mark.slow)
# float32 sums of 16 images' gradients in another order differ by a few units in the last place,
# 1e-7 of their size. Adam divides by the gradients' own size, so where one is nearly 0 a whole step
# of 2e-4 (G) or 4e-4 (D) may change sign, and later steps follow: 2e-3 is five such steps of 20.
# In float64 the same happens at 1e-16, and gradients that small do not occur.
TOLERANCE = {"fp32": 2e-3, "fp64": 1e-9}


def _weights(state):
    return {
        f"{network}.{name}": tensor.double()
        for network in ("G", "D", "G_ema")
        for name, tensor in state[network].items()
        if "spectral_" not in name  # singular vectors may flip their sign
    }


def _distance(first, second):
    assert first.keys() == second.keys()
    return max((first[name] - second[name]).abs().max().item() for name in first)


def _losses(folder):
    records, _ = read_stats(next(folder.glob(f"runs/*/{STATS_NAME}")))
    return torch.tensor([[r.metrics["loss/d"], r.metrics["loss/g"]] for r in records])


@pytest.fixture(scope="module")
def trained(digits_shards, tmp_path_factory):
    """The folder where so many processes trained the SYSTEMS of a precision, one by one."""

    @cache
    def trained(count, precision="fp64"):
        folder = tmp_path_factory.mktemp(f"by-{count}")
        systems = {
            name: changes
            for name, (changes, counts) in SYSTEMS.items()
            if count in counts and changes["precision"] == precision
        }
        train_in_turn(folder, digits_shards, count, systems)
        return folder

    return trained


@pytest.mark.parametrize("precision", ["fp64", FP32])
@pytest.mark.parametrize("statistics", ["global", "ghost"])
def test_1_2_and_4_processes_agree(trained, precision, statistics):
    folders = {
        count: trained(count, precision) / f"{statistics}-{precision}" for count in (1, 2, 4)
    }
    states = {count: _weights(newest_state(folder)) for count, folder in folders.items()}
    losses = {count: _losses(folder) for count, folder in folders.items()}
    initial = _weights(TrainState(replace(TINY, precision=precision), "cpu").state_dict())
    assert _distance(initial, states[1]) > 1e-3  # there is something to agree on
    for count in (2, 4):
        assert _distance(states[1], states[count]) < TOLERANCE[precision]
        assert (losses[1] - losses[count]).abs().max() < 10 * TOLERANCE[precision]


def test_statistics_of_each_process_are_another_result(trained):
    folders = [trained(count) / "process" for count in (1, 2)]
    states = [_weights(newest_state(folder)) for folder in folders]
    assert _distance(*states) > 1e-4
    keys = {path.name for folder in folders for path in folder.glob("runs/*")}
    assert len(keys) == 2


@pytest.mark.parametrize("loss", ["wasserstein-gp", "hinge"])
def test_other_systems_agree_too(trained, loss):
    states = [_weights(newest_state(trained(count) / loss)) for count in (1, 2)]
    assert _distance(*states) < 1e-9


def test_parts_of_a_share_add_up(trained):
    whole, parts = (
        _weights(newest_state(trained(2) / name)) for name in ("ghost-fp64", "ghost-in-parts")
    )
    assert _distance(whole, parts) < 1e-9


@pytest.mark.parametrize("count", [1, 4])
def test_job_comes_back_on_another_number_of_processes(trained, digits_shards, tmp_path, count):
    changes, _ = SYSTEMS["global-fp64"]
    workers = start(tmp_path, digits_shards, 2, changes)
    # Its first lines say that checkpoints are being made.
    wait_for(lambda: "kimg" in workers[0].log.read_text())
    for worker in workers:
        worker.process.kill()
    finish(workers)
    before = newest_state(tmp_path)["nimg"] if list(tmp_path.glob("runs/*/checkpoints/*.pt")) else 0
    assert before < 320
    resumed = _weights(train(tmp_path, digits_shards, count, changes))
    expected = _weights(newest_state(trained(1) / "global-fp64"))
    assert _distance(expected, resumed) < 1e-9


def test_other_configuration_on_a_node_is_refused(digits_shards, tmp_path):
    changes = [{"g_lr": 2e-4}, {"g_lr": 3e-4}]
    for code, output in finish(start(tmp_path, digits_shards, 2, changes)):
        assert code == 2
        assert "rank 1 has another configuration" in output
        assert "settings.g_lr = 0.0003 instead of 0.0002" in output
        assert "Traceback" not in output


def test_missing_process_is_named(digits_shards, tmp_path):
    changes = {"join_timeout_s": 3}
    for code, output in finish(start(tmp_path, digits_shards, 3, changes, ranks=[0, 2])):
        assert code == 2
        assert "rank 1 did not join within 3 s" in output
        assert "Traceback" not in output


def test_missing_main_process_is_told(digits_shards, tmp_path):
    ((code, output),) = finish(start(tmp_path, digits_shards, 2, {"join_timeout_s": 3}, ranks=[1]))
    assert code == 2
    assert "rank 1 did not reach rank 0 at MASTER_ADDR:MASTER_PORT = 127.0.0.1:" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("count", "changes", "sentence"),
    [
        (3, {}, "use 1, 2, 4, 8, 16 processes, or a batch of 15 or 18"),
        (2, {"generator": {"bn_statistics": "ghost", "bn_ghost_batch": 16}}, "ghost batch of 16"),
        (1, {"runtime": {"batch_per_process": 4}}, "set model.bn_statistics: ghost"),
        (1, {**GHOST, "runtime": {"batch_per_process": 6}}, "choose one of 4, 8, 16"),
    ],
)
def test_batch_that_cannot_be_shared(digits_shards, tmp_path, count, changes, sentence):
    for code, output in finish(start(tmp_path, digits_shards, count, changes)):
        assert code == 2, output
        assert sentence in output
    assert not list(tmp_path.glob("runs/*/checkpoints/*"))
