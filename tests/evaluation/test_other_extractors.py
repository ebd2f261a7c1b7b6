"""Reference and evaluation under networks that are neither Inception nor the data set's own."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.core.errors import UserError
from pipeline.data.shards.reader import open_dataset
from pipeline.evaluation.reference.compute import describe_bf16_effect
from tests.support.evaluated_models import Prepared
from tests.support.evaluation_run import SETTINGS, evaluate, read_outs
from tests.support.subjects import write_model, write_references, write_stripes


class _Pixels(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (B, 3, H, W) -> features (B, 12)."""
        return torch.nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1)


def _write(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
        torch.jit.script(_Pixels()).save(str(path))
    return str(path)


@pytest.fixture(scope="module")
def evaluated(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """Metrics and protocol of an evaluation under a file and a published network in bf16."""
    folder = tmp_path_factory.mktemp("others")
    few = Prepared(folder)
    write_model(few.model, write_stripes(few.shards, per_class=8))
    extractors = [_write(folder / "My Pixels.pt"), "efficientnet-lite0-bf16"]
    made = write_references(open_dataset(few.shards), few.reference, extractors=extractors)
    assert [each.protocol.extractor for each in made] == ["my-pixels", "efficientnet-lite0-bf16"]
    evaluate(
        few,
        folder,
        SETTINGS.model_copy(
            update={"num_samples": 12, "bootstrap": 0, "metrics": ["fid", "is", "kid"]}
        ),
        extractors=extractors,
    )
    return read_outs(folder)


def test_only_inception_and_the_own_classifier_give_fids(
    evaluated: tuple[Mapping[str, float], Mapping[str, Any]],
) -> None:
    metrics, _ = evaluated
    assert {"fd_my_pixels", "baseline_fd_my_pixels", "kid_mean_my_pixels_raw"} <= set(metrics)
    assert {"fd_efficientnet_lite0_bf16", "is_mean_efficientnet_lite0_bf16"} <= set(metrics)
    assert not [key for key in metrics if "fid" in key]
    assert not [key for key in metrics if key.startswith("is_") and "my_pixels" in key]
    assert metrics["fd_my_pixels"] > metrics["baseline_fd_my_pixels"] > 0


def test_bfloat16_states_its_effect(
    evaluated: tuple[Mapping[str, float], Mapping[str, Any]],
) -> None:
    _, protocol = evaluated
    for key in ("fd_efficientnet_lite0_bf16", "baseline_fd_efficientnet_lite0_bf16"):
        entry = protocol[key]
        assert entry["precision"] == "bf16"
        effect = entry["bf16_effect"]
        assert 0 < effect["relative_feature_error"] < 0.1
        assert 0 < abs(effect["relative_distance_change"]) < 0.2
        assert describe_bf16_effect(effect).startswith("bf16 moves the features of ")
    assert "bf16_effect" not in protocol["fd_my_pixels"]


def test_a_file_that_was_replaced_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    path = _write(tmp_path / "net.pt")
    dataset = open_dataset(prepared.shards)
    write_references(dataset, tmp_path / "reference", extractors=[path])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.Sequential(_Pixels(), nn.ReLU())).save(path)
    changes = {"reference_dir": tmp_path / "reference", "extractors": [path]}
    with pytest.raises(UserError, match=r"reference.net was made with other weights"):
        evaluate(prepared, tmp_path, **changes)
