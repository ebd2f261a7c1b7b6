"""The stage as DVC runs it: a process of its own."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.shards.reader import open_dataset
from pipeline.data.sources.select import open_source
from stages.shard import main
from tests.support.forks import run_command
from tests.support.photographs import encoded, photograph
from tests.support.s3_server import SECRET, serve_s3


def test_digits_become_shards_with_a_fixed_digest(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("data:\n  source: digits\n")
    run = run_command(tmp_path, "stages.shard", "--out", "data/shards")
    assert (run.returncode, run.stderr) == (0, "")
    dataset = open_dataset(tmp_path / "data" / "shards")
    manifest = dataset.manifest
    assert (len(dataset.train), len(dataset.heldout)) == (1426, 371)
    assert min(manifest.splits["heldout"].class_counts) > 0
    assert "digits, 1426 + 371 held-out images of 10 classes (130 to 150" in run.stdout
    assert f"digest {manifest.digest[:12]}" in run.stdout

    again = write_dataset(
        open_source("digits"),
        tmp_path / "elsewhere",
        Preprocessing(resolution=32, channels=1),
        heldout_fraction=0.2,
        shard_rows=16384,
    )
    assert again == manifest


def test_a_folder_of_images_becomes_shards(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            pixels = generator.integers(0, 256, (40, 60, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.jpg")
    (tmp_path / "photos" / "cat" / "notes.txt").touch()
    (tmp_path / "params.yaml").write_text(
        "data: {source: folder, path: photos, resolution: 64, channels: 3, shard_rows: 7,\n"
        "  max_rejected_fraction: 0.05}\n"
    )
    run = run_command(tmp_path, "stages.shard", "--out", "shards")
    assert run.returncode == 0
    assert run.stderr == (
        "warning: 2 of 2 classes have fewer than 50 images: 'cat' with 20, 'dog' with 20\n"
        "warning: 40 of 40 originals are smaller than the shards' resolution\n"
    )
    assert "1 images rejected, listed in shards/rejected.jsonl" in run.stdout
    rejected = (tmp_path / "shards" / "rejected.jsonl").read_text()
    assert rejected == '{"key": "cat/notes.txt", "reason": ".txt is not an image\'s"}\n'
    dataset = open_dataset(tmp_path / "shards")
    assert dataset.manifest.class_names == ("cat", "dog")
    assert dataset.manifest.rows == 40
    assert dataset.train.gather(np.arange(3)).shape == (3, 64, 64, 3)


def test_a_mistake_ends_in_one_sentence_and_leaves_the_list(tmp_path: Path) -> None:
    damaged = tmp_path / "photos" / "cat" / "1.png"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"\x89PNG")
    (tmp_path / "params.yaml").write_text(
        "data: {source: folder, path: photos, heldout_fraction: 0}\n"
    )
    run = run_command(tmp_path, "stages.shard", "--out", "shards")
    assert run.returncode == 2
    assert run.stderr == (
        "error: 1 of 1 images cannot be used, more than data.max_rejected_fraction = 0.01 allows; "
        "shards.tmp/rejected.jsonl lists them: cat/1.png (no known image format; it begins with "
        "b'\\x89PNG')\n"
    )
    assert run.stdout == ""
    listed = json.loads((tmp_path / "shards.tmp" / "rejected.jsonl").read_text())
    assert listed["key"] == "cat/1.png"
    assert not (tmp_path / "shards").exists()


def test_images_in_a_bucket_become_shards(tmp_path: Path) -> None:
    with serve_s3() as s3:
        bucket = s3.new_bucket()
        for index in range(60):
            content = encoded(Image.fromarray(photograph(50, 40, seed=index)), "JPEG")
            place = f"set/{('cat', 'dog')[index % 2]}/{index:02}.jpg"
            s3.client.put_object(Bucket=bucket[5:], Key=place, Body=content)
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).write_bytes(content)
        params = "data: {{source: folder, path: {}, channels: 3, shard_rows: 16}}\n"
        (tmp_path / "params.yaml").write_text(params.format(f"'{bucket}/set'"))
        run = run_command(tmp_path, "stages.shard", "--out", "there")
        assert run.returncode == 0, run.stderr
        assert SECRET not in run.stdout + run.stderr
        (tmp_path / "params.yaml").write_text(params.format("'s3://there-is-no-such-bucket/a'"))
        lost = run_command(tmp_path, "stages.shard", "--out", "lost")
        assert lost.returncode == 2
        assert "the bucket does not exist; create it or correct the address" in lost.stderr
        (tmp_path / "params.yaml").write_text(params.format("set"))
        unsent = run_command(
            tmp_path, "stages.shard", "--out", "lost", "--to", "s3://there-is-no-such-bucket/a"
        )
        assert unsent.returncode == 2
        assert "the bucket does not exist" in unsent.stderr
        assert "images" not in unsent.stdout  # it is told before the work
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml", "set", "there"]
    here = write_dataset(
        open_source("folder", str(tmp_path / "set")),
        tmp_path / "here",
        Preprocessing(resolution=32, channels=3),
        heldout_fraction=0.2,
        shard_rows=16,
    )
    assert open_dataset(tmp_path / "there").manifest.digest == here.digest


def test_only_shards_of_this_machine_are_verified(tmp_path: Path) -> None:
    run = run_command(tmp_path, "stages.shard", "--verify", "s3://bucket/shards")
    assert run.returncode == 2
    assert run.stderr.startswith("error: --verify takes a folder of this machine, not s3://bucket")


def test_help_explains_the_section(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["shard", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "heldout_fraction = 0.2" in capsys.readouterr().out
