"""Shards made as tasks of Ray are those that one process makes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.sources.select import open_source
from tests.support.photographs import encoded, photograph
from tests.support.project import ROOT
from tests.support.ray_nodes import RayNodes


def _write_photos(folder: Path) -> None:
    for index in range(60):
        path = folder / ("cat", "dog")[index % 2] / f"{index:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = encoded(Image.fromarray(photograph(60, 50, seed=index)), "JPEG")
        path.write_bytes(content if index else b"")


def _run(folder: Path, runtime: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "params.yaml").write_text(
        "data: {source: folder, path: photos, channels: 3, shard_rows: 8, "
        f"max_rejected_fraction: 0.05}}\nruntime: {runtime}\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "stages.shard", "--out", "shards"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(
    "way", [pytest.param("launcher: ray", marks=pytest.mark.slow), "RAY_ADDRESS"]
)
def test_ray_writes_what_one_process_writes(
    tmp_path: Path, cluster: RayNodes, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    _write_photos(tmp_path / "photos")
    if way == "RAY_ADDRESS":
        cluster.connect(monkeypatch)
        run = _run(tmp_path, "{}")
    else:
        run = _run(tmp_path, "{launcher: ray}")
    assert run.returncode == 0, run.stderr
    assert "1 images rejected" in run.stdout
    write_dataset(
        open_source("folder", str(tmp_path / "photos")),
        tmp_path / "here",
        Preprocessing(resolution=32, channels=3),
        heldout_fraction=0.2,
        shard_rows=8,
        max_rejected_fraction=0.05,
    )
    here, there = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("*.arrow")}
        for name in ("here", "shards")
    )
    assert here == there
    assert len(here) > 5


def test_a_mistake_in_a_task_is_the_users(tmp_path: Path) -> None:
    _write_photos(tmp_path / "photos")
    run = _run(tmp_path, "{}", RAY_ADDRESS="127.0.0.1:9")
    assert run.returncode == 2
    assert run.stderr.startswith("error: no usable Ray cluster at RAY_ADDRESS = 127.0.0.1:9")
