"""The evaluate stage under each launcher: the same numbers, the same exit codes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.schema import EvaluateSection
from pipeline.data.shards.reader import open_dataset
from tests.support.evaluated_models import Prepared
from tests.support.evaluation_run import evaluate
from tests.support.processes import environment
from tests.support.subjects import write_model, write_references, write_stripes

EVALUATE = {"num_samples": 330, "seed": 5, "is_splits": 2, "kid_subsets": 5, "kid_subset_size": 10}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the stage reads, and what one process makes of it, in `expected`."""
    folder = tmp_path_factory.mktemp("project")
    data = Prepared(folder / "data")
    write_model(data.model, write_stripes(data.shards))
    write_references(open_dataset(data.shards), data.reference)
    evaluate(data, folder / "expected", EvaluateSection(**EVALUATE))
    return folder


def _run(
    project: Path, launcher: str, *options: str, **evaluate: int
) -> subprocess.CompletedProcess[str]:
    params: dict[str, Any] = {
        "evaluate": EVALUATE | evaluate,
        "runtime": {"launcher": launcher, "num_workers": 2, "tracker": "none"},
    }
    (project / "params.yaml").write_text(json.dumps(params))
    return subprocess.run(
        [sys.executable, "-m", "stages.evaluate", *options],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("launcher", ["torchrun", pytest.param("ray", marks=pytest.mark.slow)])
def test_two_workers_give_the_numbers_of_one(project: Path, launcher: str) -> None:
    out = f"reports-{launcher}"
    places = {name: f"{out}/{name}.json" for name in ("metrics", "protocol")}
    places["samples"] = f"{out}/samples"
    options = [part for name, place in places.items() for part in (f"--{name}", place)]
    done = _run(project, launcher, *options, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    for name in ("metrics.json", "protocol.json", "samples/class_grid.png"):
        content = (project / out / name).read_bytes()
        assert content == (project / "expected" / name).read_bytes()
    assert printed["metrics"] == json.loads((project / out / "metrics.json").read_text())
    assert printed["protocol"].keys() == printed["metrics"].keys()


def test_a_mistake_of_all_workers_is_one_sentence(project: Path) -> None:
    done = _run(project, "torchrun", "--reference", "nowhere", "--metrics", "none/metrics.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: rank 0: nowhere/dataset-cnn/protocol.json does not exist; make it with "
        "`dvc repro reference`\n"
    )
    assert not (project / "none").exists()
