"""One's own TorchScript and ONNX files as extractors."""

import re
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pipeline.core.errors import UserError
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.extractors.open_extractor import open_extractor
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.storage.digest import sha256_file

WEIGHT = torch.linspace(-1, 1, 15).reshape(5, 3)


class Means(nn.Module):
    """Five mixtures of the mean colour; logits are their negatives."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.register_buffer("weight", WEIGHT.clone())
        self.both = both

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """uint8 (B, 3, H, W) -> [features (B, 5)], or with logits."""
        features = images.float().mean(dim=(2, 3)) @ self.weight.T
        return [features, -features] if self.both else [features]


class Mistaken(nn.Module):
    """What is no extractor."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (B, 3, H, W) -> what `kind` says."""
        if self.kind == "integers":
            return images.flatten(1)
        if self.kind == "map":
            return images.float()
        if self.kind == "one row":
            return images.float().flatten(1)[:1]
        return images.float() @ torch.zeros(7, 7)


def _script(path: Path, network: nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
        torch.jit.script(network).save(str(path))
    return path


def _graph(path: Path, dtype: int = TensorProto.UINT8, batch: int | str = "B") -> Path:
    shape = [batch, 3, "H", "W"]
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weight"], ["features"]),
        helper.make_node("Neg", ["features"], ["logits"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
        numpy_helper.from_array(WEIGHT.T.contiguous().numpy(), "weight"),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 5])
        for name in ("features", "logits")
    ]
    images = helper.make_tensor_value_info("images", dtype, shape)
    graph = helper.make_graph(nodes, "means", [images], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def _open(path: Path | str, image_size: int = 32) -> Extractor:
    return open_extractor(str(path), Path(), WeightSources(), "cpu", image_size=image_size)


def _images(count: int = 70) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 3, 32, 32), generator=random, dtype=torch.uint8)


def _expected(images: torch.Tensor) -> torch.Tensor:
    return images.double().mean(dim=(2, 3)) @ WEIGHT.double().T


@pytest.mark.parametrize("kind", ["script", "graph", "graph of floats"])
def test_features_and_logits_are_the_networks(tmp_path: Path, kind: str) -> None:
    if kind == "script":
        path = _script(tmp_path / "Mean Colours.ts", Means(both=True))
    else:
        dtype = TensorProto.UINT8 if kind == "graph" else TensorProto.FLOAT
        path = _graph(tmp_path / "Mean Colours.onnx", dtype)
    extractor = _open(path)
    features, logits = extractor.extract(_images())
    torch.testing.assert_close(features.double(), _expected(_images()), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(logits, -features)
    assert (extractor.name, extractor.feature_dim) == ("mean-colours", 5)
    assert extractor.weights_sha256 == sha256_file(path)
    assert not extractor.official
    assert ("TorchScript" if kind == "script" else "ONNX Runtime 1.") in extractor.precision


def test_logits_may_be_missing_and_images_grey(tmp_path: Path) -> None:
    extractor = _open(_script(tmp_path / "net.pt", Means(both=False)))
    grey = _images(3)[:, :1]
    features, logits = extractor.extract(grey)
    torch.testing.assert_close(
        features.double(), _expected(grey.expand(-1, 3, -1, -1)), rtol=1e-5, atol=1e-4
    )
    assert logits.shape == (3, 0)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("integers", "for 2x3x32x32 it gives uint8 2x3072"),
        ("map", "it gives float32 2x3x32x32"),
        ("one row", "it gives float32 1x3072"),
        ("failure", "fails on uint8 images 2x3x32x32: .*shapes cannot be multiplied"),
    ],
)
def test_a_network_that_breaks_the_contract_is_refused(
    tmp_path: Path, kind: str, message: str
) -> None:
    path = _script(tmp_path / "net.pt", Mistaken(kind))
    with pytest.raises(
        UserError, match=f"reference.extractors: {re.escape(str(path))} .*{message}"
    ):
        _open(path)


def test_a_graph_of_fixed_batches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"batches of 1 alone; export it with a dynamic first axis"):
        _open(_graph(tmp_path / "net.onnx", batch=1))


def test_a_graph_of_other_inputs_is_refused(tmp_path: Path) -> None:
    path = _graph(tmp_path / "net.onnx", TensorProto.DOUBLE)
    with pytest.raises(UserError, match=r"one input, uint8 or float32 \(B, 3, H, W\), not images"):
        _open(path)


@pytest.mark.parametrize("suffix", ["pt", "onnx"])
def test_what_is_no_network_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net.{suffix}"
    with pytest.raises(UserError, match=r"cannot be read \(No such file.*; correct the path"):
        _open(path)
    path.write_bytes(b"no network")
    with pytest.raises(UserError, match=rf"{re.escape(str(path))} is no (TorchScript file|graph)"):
        _open(path)


def test_weights_beside_a_graph_are_part_of_it(tmp_path: Path) -> None:
    path = _graph(tmp_path / "net.onnx")
    hashes = {_open(path).weights_sha256}
    for content in (b"a", b"b"):
        path.with_name("net.onnx.data").write_bytes(content)
        hashes.add(_open(path).weights_sha256)
    assert len(hashes) == 3
