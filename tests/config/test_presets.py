"""The published settings in configs/: complete, and of the published size."""

import pytest
import torch
import yaml

from models.discriminator import Discriminator
from models.generator import Generator
from pipeline.config.params import load_params, override
from pipeline.config.schema import ModelSection, TrainSection
from pipeline.data.shards.manifest import Manifest, Split, read_manifest
from pipeline.jobs.study import DIGITS
from pipeline.runs.settings import train_settings
from pipeline.search.study import Request, find_section, make_study
from tests.support.project import ROOT

NOT_THE_DIGITS_OWN = {"order", "order_window"}
PRESETS = {
    # classes, parameters of G and of D, updates of G
    "cifar10": (10, 4_386_308, 1_075_586, 100_000),
    "tiny-imagenet": (200, 13_387_396, 19_752_642, 100_000),
    "imagenet": (1000, 42_017_412, 39_448_258, 1_000_000),
}


def _loaded(name):
    params = load_params(ROOT / "configs" / f"{name}.yaml")
    num_classes = PRESETS[name][0]
    split = Split(rows=10**6, class_counts=(10**6 // num_classes,) * num_classes, shards=())
    manifest = Manifest(
        format_version=1,
        name=name,
        resolution=params.data.resolution,
        channels=params.data.channels,
        class_names=tuple(map(str, range(num_classes))),
        rows=2 * 10**6,
        splits={"train": split, "heldout": split},
        source={},
        preprocessing={},
        digest="",
    )
    return params, manifest


def _settings(name):
    return train_settings(*_loaded(name))


def _num_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_the_published_system(name):
    settings = _settings(name)
    _, g_parameters, d_parameters, g_updates = PRESETS[name]
    with torch.device("meta"):
        G, D = Generator(settings.generator), Discriminator(settings.discriminator)
    assert (_num_parameters(G), _num_parameters(D)) == (g_parameters, d_parameters)
    assert settings.total_nimg == g_updates * settings.d_steps * settings.batch


@pytest.mark.parametrize("name", PRESETS)
def test_studies_of_a_preset_can_be_trained(name, tmp_path):
    params, manifest = _loaded(name)
    for study in params.search.studies:
        section = find_section(params, Request(study=study))
        made = make_study(study, section, params, manifest, "shards", str(tmp_path))
        assert made.metric == "fid2k"
    sizes = [size for size in (8, 16, 32, 64) if size < params.data.resolution]
    systems = [f"{kind}-feat{size}" for kind in ("sagan", "residual") for size in sizes]
    table_1 = params.search.studies["attention"].space["model.variant"].values
    assert table_1 == ["no-attention", *systems]


@pytest.mark.parametrize("name", PRESETS)
def test_a_study_of_a_preset_can_be_rehearsed(name, tmp_path, digits_shards):
    params = override(_loaded(name)[0], DIGITS)
    section = find_section(params, Request(study="ttur", smoke=True))
    digits = read_manifest(digits_shards)
    study = make_study("ttur-smoke", section, params, digits, "shards", str(tmp_path))
    assert (study.metric, section.workers_per_trial) == ("fid2k_dataset_cnn", 1)
    assert section.resources_per_worker == {}


def test_learning_rates_are_the_published_ones():
    cifar = _settings("cifar10")
    assert (cifar.g_lr, cifar.d_lr, cifar.d_steps, cifar.adam_beta1) == (2e-4, 2e-4, 5, 0.5)
    for name in ("tiny-imagenet", "imagenet"):
        settings = _settings(name)
        assert (settings.g_lr, settings.d_lr, settings.batch) == (1e-4, 4e-4, 256)
        assert settings.g_lr_halflife_kimg is None


@pytest.mark.parametrize("name", PRESETS)
def test_preset_leaves_nothing_to_the_digits_defaults(name):
    content = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))
    for section, values in ((ModelSection, content["model"]), (TrainSection, content["train"])):
        decided = {key for key, field in section.model_fields.items() if field.default is not None}
        assert decided - NOT_THE_DIGITS_OWN <= set(values)


def test_every_file_of_configs_is_tested():
    assert {path.stem for path in (ROOT / "configs").iterdir()} == set(PRESETS)
