"""Mistakes in params.yaml, each as the sentence that a user reads."""

from pathlib import Path

import pytest

from pipeline.config.params import Params, describe, load_params
from pipeline.config.schema import RuntimeSection, TrainSection
from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import read_manifest
from pipeline.runs.settings import runtime_settings, train_settings
from tests.support.project import ROOT


def _load(tmp_path: Path, text: str) -> Params:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return load_params(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train: {batchh: 3}", r"unknown key `train\.batchh`; the nearest valid key is `train\.ba"),
        ("traim: {}", r"unknown key `traim`; the nearest valid key is `train`"),
        ("train: {resolution: 32}", r"`train\.resolution`; it belongs at `data\.resolution`"),
        ("train: {xyzzy: 1}", r"`train\.xyzzy`; valid keys are `train\.seed`"),
        ("train: {batch: abc}", r"`train\.batch` = 'abc' is not valid: .*valid integer.*global"),
        ("train: {batch: true}", r"`train\.batch` = True is not valid"),
        ("train: {batch: 1}", r"`train\.batch` = 1 is not valid: .*greater than or equal to 2"),
        ("train: {g_lr: .nan}", r"`train\.g_lr` = nan is not valid: .*finite"),
        ("train: {g_lr: fast}", r"`train\.g_lr` = 'fast' is not valid"),
        ("train: 3", r"`train` = 3 is not valid"),
        ("data: {resolution: 48}", r"`data\.resolution` = 48 is not valid: .*32, 64 or 128"),
        ("model: {g_attention: [64]}", r"model\.g_attention = \[64\].*no 64x64.*\[8, 16, 32\]"),
        ("model: {d_attention: [32]}", r"model\.d_attention = \[32\].*no 32x32.*\[8, 16\]"),
        ("model: {d_attention: [8, 8]}", r"model\.d_attention = \[8, 8\].*repeat"),
        ("data: {source: folder}", r"data\.path is missing"),
        ("reference: {extractors: [inception-v3-compat]}", r"reference\.inception_weights is mis"),
        (
            "reference: {extractors: [inception-v3-compat-bf16]}",
            r"reference\.inception_weights is mis",
        ),
        (
            "reference: {extractors: [datset-cnn]}",
            r"`reference\.extractors`: .*'datset-cnn'; the nearest is 'dataset-cnn'",
        ),
        (
            "reference: {extractors: [dataset-cnn, a/dataset-cnn.pt]}",
            r"`reference\.extractors`: .*would be called 'dataset-cnn'.*rename the file",
        ),
        (
            "reference: {extractor_weights: {vgg-16: a.pth}}",
            r"`reference\.extractor_weights`: 'vgg-16' takes no weights; .*'vgg16'",
        ),
        (
            "reference: {keep_features: 5}",
            r"keep_features = 5 is not valid: .*10 or more, or",
        ),
        ("reference: {keep_features: most}", r"keep_features = 'most' is not valid: .* or `all`"),
        ("evaluate: {selection_seed: 1000}", r"selection_seed = 1000 is evaluate\.seed: the best"),
        ("- 1", r"must hold sections"),
        ("a: [", r"is not valid YAML"),
        ("train: {batchh: 3, sed: 1}", r"and 1 more mistake"),
    ],
)
def test_mistake_is_one_sentence(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        _load(tmp_path, text)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"params\.yaml does not exist"):
        load_params(tmp_path / "params.yaml")


def test_scientific_notation_is_a_number(tmp_path):
    assert _load(tmp_path, "train: {g_lr: 1e-4, total_kimg: 3}").train.g_lr == 1e-4


def test_own_params_name_every_key():
    params = load_params(ROOT / "params.yaml")
    for section in Params.model_fields:
        values = getattr(params, section)
        assert values.model_fields_set == set(type(values).model_fields)


def test_own_params_are_the_defaults():
    own = load_params(ROOT / "params.yaml")
    for section in set(Params.model_fields) - {"search"}:  # studies are data
        assert getattr(own, section) == getattr(Params(), section)
    assert own.search.smoke == Params().search.smoke


def test_settings_take_over_every_value(digits_shards):
    params = load_params(ROOT / "params.yaml")
    settings = train_settings(params, read_manifest(digits_shards))
    assert settings.batch == params.train.batch
    assert settings.generator.width == params.model.g_width
    assert settings.generator.num_classes == 10
    for key in ("seed", "total_kimg", "ema_halflife_kimg", "g_lr_halflife_kimg", "precision"):
        assert getattr(settings, key) == getattr(params.train, key)
    runtime = runtime_settings(params, "cpu")
    assert runtime.checkpoint_kimg == params.runtime.checkpoint_kimg


def test_help_describes_every_key():
    text = describe(TrainSection, RuntimeSection)
    for section in (TrainSection, RuntimeSection):
        for key, field in section.model_fields.items():
            assert f"  {key} = " in text
            assert field.description in text
