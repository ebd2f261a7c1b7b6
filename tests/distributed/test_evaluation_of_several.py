"""Reference statistics and metrics do not depend on the number of processes or threads."""

import json
from pathlib import Path

import pytest

from pipeline.evaluation.executor import ParallelExecutor
from tests.distributed.evaluate_worker import prepare_and_score
from tests.distributed.job import finish, start_module
from tests.support.subjects import write_model, write_stripes

WORKER = "tests.distributed.evaluate_worker"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards and a model; 900 images to train on are several blocks, the last one cut."""
    folder = tmp_path_factory.mktemp("several")
    write_model(folder / "model", write_stripes(folder / "shards", per_class=400))
    return folder


def test_1_2_and_3_processes_give_the_same_bytes(root: Path, tmp_path: Path) -> None:
    prepare_and_score(root, tmp_path / "1", ParallelExecutor(num_threads=2))
    for count, threads in ((2, [1, 2]), (3, [1, 1, 1])):
        arguments = [[str(root), str(tmp_path / str(count)), str(n)] for n in threads]
        for code, output in finish(start_module(tmp_path, WORKER, arguments)):
            assert code == 0, output
    files = sorted(p.relative_to(tmp_path / "1") for p in (tmp_path / "1").rglob("*.*"))
    assert {"metrics.json", "train.arrow", "class_grid.png"} <= {f.name for f in files}
    for count in ("2", "3"):
        found = sorted(p.relative_to(tmp_path / count) for p in (tmp_path / count).rglob("*.*"))
        assert found == files
        for file in files:
            assert (tmp_path / count / file).read_bytes() == (tmp_path / "1" / file).read_bytes()
    protocol = json.loads((tmp_path / "3" / "protocol.json").read_text())
    assert protocol["fid_dataset_cnn"]["num_generated"] == 125
