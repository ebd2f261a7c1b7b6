"""A run from start to export: resume, length, identity and mistakes."""

import json
import shutil

import pytest
import torch

from pipeline import load_generator
from pipeline.core.errors import Preempted, UserError
from pipeline.tracking.jsonl import read_stats
from tests.support.tiny_run import RUNTIME, TINY
from tests.support.weights import assert_equal_weights, weights


def test_export_is_self_describing(run, digits):
    out = run()
    G = load_generator(out / "generator.safetensors")
    assert (G.z_dim, G.resolution, G.num_classes) == (8, 32, 10)
    assert G.class_names == digits.manifest.class_names
    assert G.metadata["nimg"] == 160
    assert G.metadata["ema"]
    assert not load_generator(out / "generator-raw.safetensors").metadata["ema"]
    z, y = torch.randn(3, 8), torch.tensor([0, 4, 9])
    images, maps = G.attention_maps(z, y)
    assert images.shape == (3, 1, 32, 32)
    assert images.abs().max() <= 1
    torch.testing.assert_close(images, G(z, y))
    assert maps[16].shape == (3, 16, 16, 8, 8)
    torch.testing.assert_close(maps[16].sum(dim=(3, 4)), torch.ones(3, 16, 16))
    config = json.loads((out / "config.json").read_text())
    assert config["generator_parameters"] == sum(p.numel() for p in G.parameters())
    metrics, images_written = read_stats(out / "stats.jsonl")
    assert [record.nimg for record in metrics] == [32, 64, 96, 128, 160]
    assert [record.nimg for record in images_written] == [80, 160]
    assert all((out / record.path).exists() for record in images_written)


def test_seed_decides_the_run(run):
    first = run("a")
    assert_equal_weights(first, run("b"))
    assert not torch.equal(
        weights(first)["linear.weight"], weights(run("c", seed=1))["linear.weight"]
    )


def test_longer_and_shorter_runs_share_a_folder_and_are_bit_equal(run, tmp_path):
    short = shutil.copytree(run("a", total_kimg=0.08), tmp_path / "short")
    long = shutil.copytree(run("a", total_kimg=0.16), tmp_path / "long")
    again = run("a", total_kimg=0.08)
    assert len(list((tmp_path / "a" / "runs").iterdir())) == 1
    assert_equal_weights(short, again)
    assert_equal_weights(short, run("b", total_kimg=0.08))
    assert_equal_weights(long, run("c", total_kimg=0.16))
    nimgs = [record.nimg for record in read_stats(again / "stats.jsonl")[0]]
    assert max(nimgs) == 80


def test_finished_run_exports_without_training(run, tmp_path):
    out = run()
    stats = (tmp_path / "a" / "runs").glob("*/stats.jsonl")
    before = next(stats).read_bytes()
    shutil.rmtree(out)
    run()
    assert next((tmp_path / "a" / "runs").glob("*/stats.jsonl")).read_bytes() == before
    assert (out / "generator.safetensors").exists()


def test_result_settings_and_code_change_the_folder(run, tmp_path, monkeypatch):
    run()
    run(g_lr=1e-4)
    assert len(list((tmp_path / "a" / "runs").iterdir())) == 2
    monkeypatch.setattr("pipeline.runs.run_folder.code_digest", lambda: "another")
    run()
    assert len(list((tmp_path / "a" / "runs").iterdir())) == 3


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "no checksum"])
def test_damaged_newest_checkpoint_is_reported_and_passed_over(run, tmp_path, capsys, damage):
    expected = run("b")
    run("a", total_kimg=0.128)
    newest = sorted((tmp_path / "a").glob("runs/*/checkpoints/*.pt"))[-1]
    content = bytearray(newest.read_bytes())
    if damage == "truncate":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 4
        newest.write_bytes(content)
    elif damage == "empty":
        newest.write_bytes(b"")
    else:
        newest.with_name(newest.name + ".sha256").unlink()
    assert_equal_weights(run("a"), expected)
    assert f"{newest} is damaged" in capsys.readouterr().err


def test_checkpoint_of_another_configuration_is_refused(run, tmp_path):
    run("a")
    run("b", g_lr=1e-4)
    mine = next((tmp_path / "a" / "runs").iterdir()) / "checkpoints"
    theirs = next((tmp_path / "b" / "runs").iterdir()) / "checkpoints"
    shutil.rmtree(mine.parent / "snapshots")  # a finished run is exported without its checkpoints
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)
    with pytest.raises(UserError, match=r"belongs to run .* another configuration"):
        run("a")
    assert (run("a", restart=True) / "generator.safetensors").exists()


def test_folder_that_breaks_its_promise_is_refused_with_the_difference(run, tmp_path):
    run()
    config = next((tmp_path / "a" / "runs").glob("*/config.json"))
    content = json.loads(config.read_text())
    content["settings"]["g_lr"] = 0.5
    config.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'(?s)--restart.*-.*"g_lr": 0.5.*\+.*"g_lr": 0.0002'):
        run()


def test_batch_larger_than_the_data(run, digits):
    with pytest.raises(UserError, match=r"train\.batch = 5000 .* at most 1426"):
        run(batch=5000)


def test_broken_training_stops_and_keeps_a_good_checkpoint(run, tmp_path):
    where = r"loss/[dg] on rank 0, the gradient of [GD]\.\S+ .*not finite at nimg \d+"
    with pytest.raises(UserError, match=where):
        run(g_lr=1e30, d_lr=1e30)
    for path in (tmp_path / "a").glob("runs/*/checkpoints/*.pt"):
        state = torch.load(path, weights_only=True)
        assert all(torch.isfinite(t).all() for t in state["G"].values())


def test_preemption_leaves_a_checkpoint_and_goes_on_bit_equal(run, monkeypatch, tmp_path):
    expected = run("b")
    asked = []

    def reason(self):
        asked.append(1)
        return "SIGTERM" if len(asked) == 4 else None

    monkeypatch.setattr("pipeline.distributed.stopping.Interruption.reason", reason)
    with pytest.raises(Preempted, match=r"SIGTERM; a checkpoint at 0\.048 kimg"):
        run("a")
    assert not (tmp_path / "a" / "model").exists()
    assert_equal_weights(run("a"), expected)


def test_old_checkpoints_are_pruned_except_milestones(run, tmp_path):
    run(total_kimg=0.32)
    kept = sorted((tmp_path / "a").glob("runs/*/checkpoints/*.pt"))
    nimgs = [int(path.stem.split("-")[1]) for path in kept]
    newest = nimgs[-RUNTIME.keep_checkpoints :]
    assert newest == [288, 320]
    assert nimgs == [32, 64, 128, 256, 288, 320]
    assert TINY.batch * 20 == 320
