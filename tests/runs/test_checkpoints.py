"""Checkpoints written in the background: what is in them, and when."""

import hashlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict

import numpy as np
import pytest
import torch

from pipeline.runs import checkpoints as checkpoint_module
from pipeline.runs.checkpoint_writer import HostCopy
from pipeline.runs.checkpoints import Checkpoints, Retention
from tests.support.project import ROOT

KEY = "k" * 64


def state_at(nimg: int, size: int = 1000) -> dict:
    weight = torch.arange(size, dtype=torch.float32) + nimg
    return {
        "nimg": nimg,
        "elapsed_s": 0.5,
        "G": OrderedDict(weight=weight, steps=torch.tensor(nimg)),
        "optimizer": {"groups": [{"betas": (0.0, 0.9), "name": "all", "lr": None, "on": True}]},
    }


def make(folder, **changes) -> Checkpoints:
    return Checkpoints(folder, KEY, **({"keep": 2, "interval_nimg": 100} | changes))


@pytest.fixture
def gate(monkeypatch):
    """Writes wait, on their thread, until this event is set."""
    event, write = threading.Event(), checkpoint_module.write_checkpoint

    def gated(*arguments):
        assert event.wait(60)
        write(*arguments)

    monkeypatch.setattr(checkpoint_module, "write_checkpoint", gated)
    yield event
    event.set()


def test_file_is_plain_and_has_its_checksum(tmp_path):
    with make(tmp_path) as checkpoints:
        checkpoints.save(state_at(100))
    path = tmp_path / "checkpoint-000000100.pt"
    loaded = torch.load(path, weights_only=True)
    expected = state_at(100)
    assert loaded["run_key"] == KEY
    assert loaded["optimizer"] == expected["optimizer"]
    assert torch.equal(loaded["G"]["weight"], expected["G"]["weight"])
    assert loaded["G"]["steps"].item() == 100
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (tmp_path / f"{path.name}.sha256").read_text() == f"{digest}  {path.name}\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_training_that_goes_on_does_not_change_what_is_written(tmp_path, gate):
    state = state_at(100)
    checkpoints = make(tmp_path)
    checkpoints.save(state)
    state["G"]["weight"].zero_()
    state["G"]["steps"].fill_(7)
    state["optimizer"]["groups"][0]["name"] = "changed"
    state["elapsed_s"] = 9.0
    gate.set()
    checkpoints.close()
    loaded = checkpoints.load_newest(100)
    assert torch.equal(loaded["G"]["weight"], state_at(100)["G"]["weight"])
    assert loaded["G"]["steps"].item() == 100
    assert loaded["optimizer"] == state_at(100)["optimizer"]
    assert loaded["elapsed_s"] == 0.5


def test_save_returns_before_the_file_is_there_and_the_next_one_waits(tmp_path, gate):
    checkpoints = make(tmp_path)
    checkpoints.save(state_at(100))
    assert not (tmp_path / "checkpoint-000000100.pt").exists()
    assert checkpoints.waited_s == 0
    threading.Timer(0.2, gate.set).start()
    checkpoints.save(state_at(200))
    assert (tmp_path / "checkpoint-000000100.pt").exists()
    assert 0.1 < checkpoints.waited_s < 5
    assert 0 < checkpoints.copied_s < 1
    assert checkpoints.newest_nimg(200) == 200  # it, too, waits


def test_reports_each_checkpoint_once_it_is_on_disk(tmp_path):
    seen = []
    with make(tmp_path, on_saved=lambda: seen.append(sorted(tmp_path.glob("*.pt")))) as checkpoints:
        checkpoints.save(state_at(100))
        checkpoints.save(state_at(200))
    assert [len(paths) for paths in seen] == [1, 2]


@pytest.mark.parametrize("meet", ["save", "flush", "close", "load_newest"])
def test_error_of_the_writer_reaches_training_once(tmp_path, meet):
    folder = tmp_path / "checkpoints"
    checkpoints = make(folder)
    shutil.rmtree(folder)
    checkpoints.save(state_at(100))
    arguments = {"save": (state_at(200),), "load_newest": (200,)}.get(meet, ())
    with pytest.raises(FileNotFoundError):
        getattr(checkpoints, meet)(*arguments)
    folder.mkdir()
    checkpoints.save(state_at(300))
    checkpoints.close()
    assert checkpoints.load_newest(300)["nimg"] == 300


def test_what_would_not_load_again_is_refused_at_once(tmp_path):
    with make(tmp_path) as checkpoints:
        with pytest.raises(TypeError, match=r"optimizer\.lr is a float64"):
            checkpoints.save({"nimg": 1, "optimizer": {"lr": np.float64(0.1)}})
        assert checkpoints.load_newest(1) is None


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "no checksum", "bad checksum"])
def test_damaged_newest_is_reported_and_the_one_before_used(tmp_path, capsys, damage):
    with make(tmp_path) as checkpoints:
        checkpoints.save(state_at(100))
        checkpoints.save(state_at(200))
    newest = tmp_path / "checkpoint-000000200.pt"
    checksum = tmp_path / "checkpoint-000000200.pt.sha256"
    content = bytearray(newest.read_bytes())
    content[1234] ^= 1
    if damage == "truncate":
        newest.write_bytes(newest.read_bytes()[:-1])
    elif damage == "flip":
        newest.write_bytes(content)
    elif damage == "empty":
        newest.write_bytes(b"")
    elif damage == "no checksum":
        checksum.unlink()
    else:
        checksum.write_bytes(b"\xff\x00")
    assert checkpoints.load_newest(250)["nimg"] == 100
    assert capsys.readouterr().err.startswith(f"warning: {newest} is damaged")
    assert checkpoints.load_newest(199)["nimg"] == 100
    assert capsys.readouterr().err == ""
    assert checkpoints.load_newest(99) is None


def test_leftovers_of_a_killed_writer_are_swept(tmp_path):
    for name in ("checkpoint-000000300.pt.tmp", "checkpoint-000000300.pt.sha256"):
        (tmp_path / name).write_bytes(b"half")
    with make(tmp_path) as checkpoints:
        checkpoints.save(state_at(100))
    assert [path.name[:20] for path in tmp_path.iterdir()] == ["checkpoint-000000100"] * 2


def test_newest_and_powers_of_two_stay():
    retention = Retention(keep=2, interval_nimg=100)
    nimgs = [96, 112, 208, 304, 400, 512, 608, 704, 800, 896]
    assert retention.superfluous(nimgs) == [96, 304, 512, 608, 704]
    assert Retention(keep=20, interval_nimg=100).superfluous(nimgs) == []


def test_host_memory_is_reused_and_keeps_strides():
    host = HostCopy()
    images = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state = {"images": images, "views": [torch.arange(10)[::2], torch.ones(3).expand(2, 3)]}
    first = host.take(state)
    assert first["images"].stride() == images.stride()
    assert first["views"][1].is_contiguous()
    where = first["images"].data_ptr()
    assert host.num_bytes == 480 + 40 + 24
    images.add_(1)
    second = host.take({"images": images, "views": [torch.arange(7)]})
    assert second["images"].data_ptr() == where
    assert torch.equal(second["images"], images)
    assert torch.equal(second["views"][0], torch.arange(7))
    assert host.num_bytes == 480 + 56


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_state_on_a_gpu_is_copied_to_pinned_memory_before_save_returns(tmp_path):
    state = {"nimg": 100, "weight": torch.randn(1 << 24, device="cuda")}
    expected = state["weight"].cpu()
    with make(tmp_path) as checkpoints:
        checkpoints.save(state)
        state["weight"].zero_()
    assert torch.equal(checkpoints.load_newest(100)["weight"], expected)
    assert HostCopy().take(state)["weight"].is_pinned()


_SAVE_FOREVER = """
import sys, pathlib, torch
from pipeline.runs.checkpoints import Checkpoints
torch.set_num_threads(1)
checkpoints = Checkpoints(pathlib.Path(sys.argv[1]), "k" * 64, 2, 10**9)
weight = torch.zeros(1 << 20)
for nimg in range(1, 10**9):
    checkpoints.save({"nimg": nimg, "weight": weight.fill_(nimg)})
"""


def test_at_any_moment_the_newest_checkpoint_is_intact(tmp_path, capsys):
    process = subprocess.Popen([sys.executable, "-c", _SAVE_FOREVER, str(tmp_path)], cwd=ROOT)
    newest, deadline = 0, time.monotonic() + 240
    while newest < 20:
        assert time.monotonic() < deadline
        time.sleep(0.04)
        # Stopped like this, it has left what a kill would have left.
        process.send_signal(signal.SIGSTOP)
        names = {path.name for path in tmp_path.iterdir()}
        checkpoints = Checkpoints(tmp_path, KEY, 2, 10**9)
        newest = max((int(name[11:20]) for name in names if name.endswith(".pt")), default=0)
        if newest:
            state = checkpoints.load_newest(newest)
            assert state["nimg"] == newest
            assert torch.equal(state["weight"], torch.full((1 << 20,), float(newest)))
        process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()
    assert capsys.readouterr().err == ""
