"""Inception's weights: what is refused before anything is unpickled, and what they are called."""

import os
import re
from pathlib import Path

import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.evaluation.extractors.extractor import DATASET_CNN, INCEPTION, metric_suffix
from pipeline.evaluation.extractors.inception import open_inception, published_inception
from pipeline.evaluation.extractors.open_extractor import open_extractor
from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.storage.digest import sha256_file
from tests.support.torch_hub import NOWHERE

fidelity = import_torch_fidelity("feature_extractor_inceptionv3")


def test_only_the_official_weights_bear_the_bare_name() -> None:
    published = published_inception()
    assert published.sha256_prefix in Path(fidelity.URL_INCEPTION_V3).stem
    assert published.matches("6726825d" + 56 * "0")
    assert not published.matches("6726825e" + 56 * "0")
    assert metric_suffix(INCEPTION, official=True) == ""
    assert metric_suffix(INCEPTION, official=False) == "_inception_v3_unofficial"
    assert metric_suffix(DATASET_CNN, official=False) == "_dataset_cnn"


def test_other_weights_are_known_by_their_hash(inception_file: Path) -> None:
    extractor = open_inception(str(inception_file), "cpu")
    assert extractor.weights_sha256 == sha256_file(inception_file)
    assert not extractor.official
    assert (extractor.name, extractor.feature_dim) == (INCEPTION, 2048)


def test_a_missing_file_and_missing_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"reference\.inception_weights: .* cannot be read"):
        open_inception(str(tmp_path / "none.pth"), "cpu")
    with pytest.raises(UserError, match=r"reference\.inception_weights is missing"):
        open_extractor(INCEPTION, tmp_path, WeightSources(), "cpu", image_size=32)


class _Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._folder),)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": torch.zeros(1), "trap": _Trap(tmp_path / "sprung")}, path)
    with pytest.raises(UserError, match="does not hold the weights of torch-fidelity's Inception"):
        open_inception(str(path), "cpu")
    assert not (tmp_path / "sprung").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "sprung").exists()  # it was a trap


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (torch.zeros(3), "it is no dictionary of tensors"),
        ({"fc.weight": 3}, "it is no dictionary of tensors"),
        ({"fc.weight": torch.zeros(2, 2)}, "Missing key"),
    ],
)
def test_a_file_of_other_content_is_refused(tmp_path: Path, content: object, reason: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match=f"{re.escape(str(path))} does not hold .*{reason}") as info:
        open_inception(str(path), "cpu")
    assert len(str(info.value)) < 600


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04junk", b"PK\x03\x04zip", b"\0" * 64])
def test_a_file_that_is_no_weights_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match="does not hold the weights of torch-fidelity's Inception"):
        open_inception(str(path), "cpu")


def test_a_download_without_network_is_one_sentence(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{NOWHERE}/weights-inception-2015-12-05-6726825d.pth"
    monkeypatch.setattr(fidelity, "URL_INCEPTION_V3", url)
    with pytest.raises(UserError, match="the Inception weights cannot be downloaded from") as info:
        open_inception("download", "cpu")
    assert url in str(info.value)
    assert "set reference.inception_weights to a file" in str(info.value)
    assert list((hub / "checkpoints").iterdir()) == []


def test_a_downloaded_file_with_another_hash_is_refused(hub: Path, inception_file: Path) -> None:
    cached = hub / "checkpoints" / Path(fidelity.URL_INCEPTION_V3).name
    cached.parent.mkdir(parents=True)
    cached.write_bytes(inception_file.read_bytes())
    with pytest.raises(UserError, match=r"is not what https://github.*delete it"):
        open_inception("download", "cpu")
