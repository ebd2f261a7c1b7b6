"""From a variant's name and other keys to the settings of a run."""

import pytest
import yaml

from pipeline.config.params import Params, load_params
from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import read_manifest
from pipeline.runs.settings import resolve_run, train_settings
from pipeline.training.settings import TrainSettings


@pytest.fixture
def settings(digits_shards):
    def settings(**sections: dict) -> TrainSettings:
        return train_settings(Params.model_validate(sections), read_manifest(digits_shards))

    return settings


def test_equal_rates_stay_equal(settings):
    for variant in ("sn-d", "sn-gd", "sngan-projection", "acgan"):
        chosen = settings(model={"variant": variant})
        assert chosen.g_lr == chosen.d_lr
        assert chosen.g_lr_halflife_kimg is None
    ttur = settings(model={"variant": "sn-gd-ttur"})
    assert ttur.d_lr == pytest.approx(4 * ttur.g_lr)
    assert ttur.g_lr_halflife_kimg == 28


def test_multiplier_scales_a_variants_rates_and_not_given_ones(settings):
    chosen = settings(train={"lr_multiplier": 2, "g_lr": 3e-4})
    assert (chosen.g_lr, chosen.d_lr) == (3e-4, pytest.approx(8e-4))


def test_published_systems(settings):
    acgan = settings(model={"variant": "acgan"})
    assert acgan.discriminator.conditioning == "auxiliary-classifier"
    assert (acgan.d_steps, acgan.lr_decay) == (5, "linear")
    projection = settings(model={"variant": "sngan-projection"})
    assert projection.discriminator.conditioning == "projection"
    assert projection.discriminator.spectral_norm
    assert not projection.generator.spectral_norm
    assert projection.generator.attention == ()
    bad = settings(model={"variant": "studiogan-recipe"})
    assert bad.generator.cbn_spectral_norm
    assert bad.generator.initialization == "orthogonal"
    assert bad.ema_halflife_kimg is None
    good = settings(model={"variant": "biggan-recipe", "bn_ghost_batch": 64})
    assert not good.generator.cbn_spectral_norm
    assert good.ema_halflife_kimg == 5


def test_departures_are_described(digits_shards):
    params = Params.model_validate(
        {"model": {"variant": "sn-gd", "bn_eps": 1e-4}, "train": {"loss": "hinge", "flip": True}}
    )
    assert resolve_run(params, read_manifest(digits_shards))[1] == {
        "variant": "sn-gd",
        "departures": {
            "model.bn_eps": "0.0001 (variant: 1e-05)",
            "train.flip": "True (variant: False)",
        },
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model: {variant: sagan-feat61}", r"model\.variant = 'sagan-feat61' is not known; the ne"),
        (
            "model: {variant: sagan-feat64}",
            r"model\.variant = 'sagan-feat64' needs 64x64 .*data\.resolution 32 .*sagan-feat8, sag",
        ),
        (
            "model: {variant: acgan, conditioning: projection}",
            r"model\.conditioning = 'projection' contradicts model\.variant 'acgan'",
        ),
        (
            "model: {variant: sagan-feat16, g_attention: [8]}",
            r"model\.g_attention = \[8\] contradicts model\.variant 'sagan-feat16', which stands f",
        ),
        (
            "train: {class_loss_weight: 0.5}",
            r"train\.class_loss_weight = 0\.5 counts only with model\.conditioning = 'auxiliary-c",
        ),
        ("train: {gp_weight: 5}", r"train\.gp_weight = 5\.0 counts only with train\.loss = 'wass"),
        ("model: {bn_ghost_batch: 8}", r"model\.bn_ghost_batch = 8 counts only with model\.bn_st"),
        (
            "model: {cbn_spectral_norm: true, g_spectral_norm: false}",
            r"model\.cbn_spectral_norm = True counts only with model\.g_spectral_norm = True",
        ),
        (
            "model: {variant: no-attention, attention_form: paper}",
            r"model\.attention_form = 'paper' counts only where there is attention, which model\.g",
        ),
        (
            "model: {bn_statistics: ghost, bn_ghost_batch: 24}",
            r"train\.batch = 64 does not divide into ghost batches of model\.bn_ghost_batch = 24",
        ),
        ("model: {attention_form: text}", r"`model\.attention_form` = 'text' is not valid: .*rel"),
        ("train: {diffaugment: [colour]}", r"`train\.diffaugment\.0` = 'colour' is not valid"),
        ("train: {loss: wgan}", r"`train\.loss` = 'wgan' is not valid"),
    ],
)
def test_impossible_combination_is_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        load_params(path)


def test_combination_that_no_network_has(settings):
    with pytest.raises(UserError, match=r"cbn_spectral_norm = true with cbn_initialization = 'id"):
        settings(model={"cbn_spectral_norm": True})


def test_every_variant_can_be_written_in_yaml(tmp_path):
    from models.variants import VARIANTS, at_resolution

    for variant in VARIANTS:
        resolution = 128
        at_resolution(variant, resolution)
        path = tmp_path / "params.yaml"
        content = {
            "data": {"resolution": resolution},
            "model": {"variant": variant},
        }
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        assert load_params(path).model.variant == variant
