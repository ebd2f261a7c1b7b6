"""What an evaluation refuses, before it writes anything."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.schema import EvaluateSection
from pipeline.core.errors import UserError
from pipeline.data.shards.reader import open_dataset
from tests.support.evaluated_models import Prepared
from tests.support.evaluation_run import evaluate
from tests.support.subjects import write_model, write_references, write_stripes


def _another_model(prepared: Prepared, tmp_path: Path) -> dict[str, Any]:
    write_model(tmp_path / "model", write_stripes(tmp_path / "shards", seed=1))
    return {"model_dir": tmp_path / "model"}


def _no_raw_model(prepared: Prepared, tmp_path: Path) -> dict[str, Any]:
    folder = shutil.copytree(prepared.model, tmp_path / "model")
    (folder / "generator-raw.safetensors").unlink()
    return {"model_dir": folder}


def _another_reference(prepared: Prepared, tmp_path: Path) -> dict[str, Any]:
    manifest = write_stripes(tmp_path / "shards", seed=1)
    write_model(tmp_path / "model", manifest)
    return {"manifest": manifest, "model_dir": tmp_path / "model"}


def _other_weights(prepared: Prepared, tmp_path: Path) -> dict[str, Any]:
    write_references(open_dataset(prepared.shards), tmp_path / "other", seed=9)
    folder = shutil.copytree(prepared.reference, tmp_path / "reference")
    name = "dataset-cnn/weights.safetensors"
    shutil.copyfile(tmp_path / "other" / name, folder / name)
    return {"reference_dir": folder}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_another_model, r"generator\.safetensors was made of another data set .*`dvc repro`"),
        (_another_reference, r"protocol\.json was made of another data set"),
        (_other_weights, r"weights\.safetensors is damaged or not of this protocol\.json"),
        (lambda p, t: {"model_dir": t}, r"holds no whole model; `dvc repro train` exports it"),
        (_no_raw_model, r"generator-raw\.safetensors does not exist; `dvc repro train"),
        (lambda p, t: {"reference_dir": t}, r"protocol\.json does not exist; .*`dvc repro refer"),
        (
            lambda p, t: {"extractors": ["dataset-cnn", "inception-v3-compat"]},
            r"inception-v3-compat.protocol\.json does not exist; make it with `dvc repro referenc",
        ),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(
    prepared: Prepared,
    tmp_path: Path,
    change: Callable[[Prepared, Path], dict[str, Any]],
    message: str,
) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(prepared, tmp_path / "out", **change(prepared, tmp_path))
    assert not (tmp_path / "out").exists()


def test_too_few_samples_are_refused(prepared: Prepared, tmp_path: Path) -> None:
    settings = EvaluateSection.model_construct(
        num_samples=5, seed=0, is_splits=1, kid_subsets=1, kid_subset_size=2
    )
    with pytest.raises(UserError, match=r"evaluate.num_samples = 5 is too few for 3 classes"):
        evaluate(prepared, tmp_path / "out", settings)
