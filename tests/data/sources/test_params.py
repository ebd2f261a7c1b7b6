"""Contradicting keys of `data` are refused with a sentence."""

from pathlib import Path

import pytest

from pipeline.config.params import load_params
from pipeline.core.errors import UserError


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{source: imagenet}", r"data\.path is missing; source: imagenet needs"),
        ("{source: digits, path: here}", r"data\.path has no effect with source: digits"),
        (
            "{source: folder, path: download}",
            "'download' is for cifar10 and cifar100, not for fold",
        ),
        (
            "{source: folder, path: a, label_column: b}",
            r"data\.label_column has no effect with sour",
        ),
        (
            "{source: cifar100, path: a, image_column: b}",
            r"data\.image_column has no effect with s",
        ),
        ("{background: beige}", r"`data\.background` = 'beige' is not valid"),
        ("{background: '#12345'}", r"`data\.background` = '#12345' is not valid"),
        ("{limit: 0}", r"`data\.limit` = 0 is not valid"),
        ("{classes: []}", r"`data\.classes` = \[\] is not valid"),
        ("{resize: nearest}", r"`data\.resize` = 'nearest' .*'bicubic', 'lanczos' or 'box'"),
        ("{max_rejected_fraction: 1}", r"`data\.max_rejected_fraction` = 1"),
    ],
)
def test_mistake_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"data: {text}\n")
    with pytest.raises(UserError, match=sentence):
        load_params(path)


def test_every_source_can_be_configured(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    for text in (
        "{source: parquet, path: 's3://bucket/a', image_column: img, label_column: fine_label}",
        "{source: webdataset, path: a, label_column: kind, classes: [cat], limit: 5}",
        "{source: cifar100, path: download, label_column: coarse_labels}",
        "{source: cifar10, path: download, background: '#00Ff80', crop: long-edge, resize: box}",
        "{source: imagenet, path: /imagenet, resize: lanczos}",
    ):
        path.write_text(f"data: {text}\n")
        assert load_params(path).data.path is not None
