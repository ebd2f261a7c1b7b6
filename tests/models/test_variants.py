"""The paper's systems by name: their definitions, resolutions and contradictions."""

from dataclasses import replace

import pytest
import torch

from models.architecture import shared_sizes
from models.configuration import discriminator_config, generator_config
from models.discriminator import Discriminator
from models.generator import Generator
from models.losses import ADVERSARIAL_LOSSES
from models.variants import OPTIONS, VARIANTS, System, at_resolution, resolve

# Feature sizes of 8 and more that both networks have, by resolution.
SIZES = {32: (8, 16), 64: (8, 16, 32), 128: (8, 16, 32, 64)}
PLACED = ("sagan-feat", "residual-feat")
NAMES = {
    *("sn-d", "sn-gd", "sn-gd-ttur", "no-attention", "acgan", "sngan-projection", "sagan"),
    *("biggan-recipe", "studiogan-recipe"),
    *(f"{family}{size}" for family in PLACED for size in (8, 16, 32, 64)),
}


def _exists(name: str, resolution: int) -> bool:
    return not name.startswith(PLACED) or int(name.split("feat")[1]) in SIZES[resolution]


def _networks(system: System, resolution: int, width: int = 2):
    sizes = {
        "resolution": resolution,
        "image_channels": 3,
        "num_classes": 4,
        "width": width,
    }
    with torch.device("meta"):
        return (
            Generator(generator_config(system, **sizes, z_dim=8)),
            Discriminator(discriminator_config(system, **sizes)),
        )


def test_names_and_sizes():
    assert set(VARIANTS) == NAMES
    assert {resolution: shared_sizes(resolution) for resolution in SIZES} == SIZES


@pytest.mark.parametrize("resolution", SIZES)
def test_every_variant_at_every_resolution(resolution):
    for name in sorted(NAMES):
        if not _exists(name, resolution):
            with pytest.raises(ValueError, match=f"variant = '{name}'"):
                at_resolution(name, resolution)
            continue
        system, departures = resolve(name, resolution, {})
        assert departures == {}
        assert system == at_resolution(name, resolution)
        assert system.loss in ADVERSARIAL_LOSSES
        G, D = _networks(system, resolution)
        assert (G.spectral is not None) == system.g_spectral_norm
        assert (D.spectral is not None) == system.d_spectral_norm
        assert {int(size) for size in G.attention} == set(system.g_attention)
        assert {int(size) for size in D.attention} == set(system.d_attention)


@pytest.mark.parametrize("resolution", SIZES)
def test_sagan_attends_at_half_the_side(resolution):
    half = resolution // 2
    for name in ("sagan", "biggan-recipe", "studiogan-recipe"):
        system = at_resolution(name, resolution)
        assert system.g_attention == system.d_attention == (half,)
    named = at_resolution(f"sagan-feat{half}", resolution)
    assert replace(named, defined_by=()) == at_resolution("sagan", resolution)


def test_figure_4_adds_one_measure_at_a_time():
    d, gd, ttur = (at_resolution(name, 128) for name in ("sn-d", "sn-gd", "sn-gd-ttur"))
    assert (d.g_spectral_norm, d.d_spectral_norm) == (False, True)
    assert d.g_lr == d.d_lr
    assert replace(d, g_spectral_norm=True) == gd
    assert replace(gd, g_lr=1e-4, d_lr=4e-4) == ttur
    for system in (d, gd, ttur):
        assert system.g_attention == system.d_attention == ()
        assert system.d_steps == 1
        assert system.loss == "hinge"
    # what Table 1 calls no attention is the last of them
    assert replace(at_resolution("no-attention", 128), defined_by=()) == replace(
        ttur, defined_by=()
    )


def test_table_1_differs_in_size_and_block_alone():
    plain = at_resolution("no-attention", 128)
    for size in SIZES[128]:
        sagan = at_resolution(f"sagan-feat{size}", 128)
        residual = at_resolution(f"residual-feat{size}", 128)
        assert sagan.g_attention == sagan.d_attention == (size,)
        assert replace(sagan, attention_block="residual") == residual
        assert replace(sagan, g_attention=(), d_attention=(), defined_by=plain.defined_by) == plain


@pytest.mark.parametrize("size", SIZES[128])
def test_residual_control_has_as_many_parameters_as_its_sagan(size):
    counts = {}
    for family in PLACED:
        networks = _networks(at_resolution(f"{family}{size}", 128), 128, width=64)
        counts[family] = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert counts["sagan-feat"] == counts["residual-feat"]


def test_table_2():
    acgan, sngan, sagan = (
        at_resolution(name, 128) for name in ("acgan", "sngan-projection", "sagan")
    )
    assert sngan.conditioning == "projection"
    assert (sngan.g_spectral_norm, sngan.d_spectral_norm) == (False, True)
    assert (sngan.d_steps, sngan.lr_decay) == (5, "linear")
    assert sngan.g_lr == sngan.d_lr == 2e-4
    assert sngan.g_attention == sngan.d_attention == ()
    assert replace(sngan, conditioning="auxiliary-classifier") == acgan
    _, D = _networks(acgan, 128)
    assert D.embedding is None
    assert D.classifier.weight.shape[0] == 4
    assert (sagan.g_lr, sagan.d_lr, sagan.d_steps) == (1e-4, 4e-4, 1)
    assert (sagan.adam_beta1, sagan.adam_beta2) == (0.0, 0.999)
    assert sagan.attention_form == "released"
    assert sagan.defined_by == ()


def test_recipes_depart_flag_by_flag_from_sagan():
    """mmgeneration does not normalise class tables; PyTorch-StudioGAN does."""
    sagan = at_resolution("sagan", 128)
    biggan, studiogan = (at_resolution(f"{name}-recipe", 128) for name in ("biggan", "studiogan"))
    assert {key for key in OPTIONS if getattr(biggan, key) != getattr(sagan, key)} == {
        *("bn_statistics", "bn_ghost_batch", "spectral_norm_eps")
    }
    assert {key for key in OPTIONS if getattr(studiogan, key) != getattr(sagan, key)} == {
        *("cbn_spectral_norm", "cbn_initialization", "initialization"),
        *("spectral_norm_eps", "bn_eps", "adam_eps", "d_shortcut_relu", "ema", "flip"),
    }
    G, _ = _networks(studiogan, 128)
    assert hasattr(G.blocks[0].norm1.gain, "spectral_u")
    # every flag of one can be set in the other
    idle = {"bn_ghost_batch", "class_loss_weight", "gp_weight"}
    flags = {key: getattr(studiogan, key) for key in OPTIONS if key not in idle}
    system, departures = resolve("biggan-recipe", 128, flags)
    assert replace(system, bn_ghost_batch=64) == studiogan
    assert set(departures) == {
        key for key in flags if getattr(studiogan, key) != getattr(biggan, key)
    }


def test_departures_have_both_values():
    system, departures = resolve(
        "sagan", 64, {"g_lr": 2e-4, "d_lr": 4e-4, "d_attention": (8, 16), "loss": None}
    )
    assert departures == {"g_lr": (2e-4, 1e-4), "d_attention": ((8, 16), (32,))}
    assert (system.g_lr, system.d_attention, system.g_attention) == (2e-4, (8, 16), (32,))
    assert system.loss == "hinge"


@pytest.mark.parametrize(
    ("variant", "overrides", "words"),
    [
        ("acgan", {"conditioning": "projection"}, ["conditioning = 'projection'", "acgan"]),
        ("sagan-feat16", {"g_attention": (32,)}, ["g_attention = [32]", "stands for [16]"]),
        ("sagan-feat16", {"attention_block": "residual"}, ["attention_block = 'residual'"]),
        ("residual-feat8", {"attention_block": "attention"}, ["attention_block", "residual-feat8"]),
        ("no-attention", {"d_attention": (8,)}, ["d_attention = [8]", "stands for []"]),
        ("sn-d", {"g_spectral_norm": True}, ["g_spectral_norm = True", "sn-d"]),
        ("sngan-projection", {"d_steps": 1}, ["d_steps = 1", "stands for 5"]),
        ("sngan-projection", {"lr_decay": "constant"}, ["lr_decay = 'constant'", "'linear'"]),
    ],
)
def test_contradicting_a_definition_is_an_error(variant, overrides, words):
    with pytest.raises(ValueError, match="contradicts variant") as error:
        resolve(variant, 64, overrides)
    message = str(error.value)
    assert message.startswith(next(iter(overrides)))
    for word in words:
        assert word in message
    # repeating the defined value is no error
    (key,) = overrides
    meant = getattr(at_resolution(variant, 64), key)
    assert resolve(variant, 64, {key: meant}) == (at_resolution(variant, 64), {})


@pytest.mark.parametrize(
    ("overrides", "switch", "cure"),
    [
        ({"class_loss_weight": 0.5}, "conditioning = 'auxiliary-classifier'", "acgan"),
        ({"class_loss_weight": 1.0}, "conditioning = 'auxiliary-classifier'", "acgan"),
        ({"gp_weight": 1.0}, "loss = 'wasserstein-gp'", "sagan"),
        ({"bn_ghost_batch": 32}, "bn_statistics = 'ghost'", "biggan-recipe"),
    ],
)
def test_options_without_effect_are_errors(overrides, switch, cure):
    (key,) = overrides
    with pytest.raises(ValueError, match=f"^{key} = .* counts only with {switch}"):
        resolve("sagan", 32, overrides)
    switch_key, value = switch.split(" = ")
    also = {} if cure != "sagan" else {switch_key: value.strip("'")}
    system, _ = resolve(cure, 32, {**overrides, **also})
    assert getattr(system, key) == overrides[key]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("sagan-feat62", "sagan-feat64"), ("resid-feat8", "residual-feat8"), ("ac-gan", "acgan")],
)
def test_unknown_name_lists_the_nearest_and_all(name, nearest):
    with pytest.raises(ValueError, match=f"variant = '{name}' is not known") as error:
        at_resolution(name, 64)
    assert f"nearest is '{nearest}'" in str(error.value)
    assert all(known in str(error.value) for known in NAMES)


def test_dissimilar_name_lists_all():
    with pytest.raises(ValueError, match="variant = 'x'") as error:
        at_resolution("x", 64)
    assert "nearest" not in str(error.value)
    assert all(known in str(error.value) for known in NAMES)


@pytest.mark.parametrize("resolution", [32, 64])
@pytest.mark.parametrize("family", PLACED)
def test_unavailable_size_lists_the_available(resolution, family):
    with pytest.raises(ValueError, match="64x64 features") as error:
        at_resolution(f"{family}64", resolution)
    there = ", ".join(f"{family}{size}" for size in SIZES[resolution])
    assert str(error.value).endswith(f"choose among {there}")


def test_unknown_resolution_lists_the_known():
    with pytest.raises(ValueError, match=r"resolution 48 .* \[32, 64, 128\]"):
        at_resolution("sagan", 48)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attention_form": "text"}, ["attention_form = 'text'", "released, paper"]),
        ({"attention_block": "conv"}, ["attention_block = 'conv'", "attention, residual"]),
        ({"initialization": "zeros"}, ["initialization = 'zeros'", "xavier, orthogonal, normal"]),
        ({"bn_statistics": "none"}, ["bn_statistics = 'none'", "global, ghost, process"]),
        ({"cbn_initialization": "ones"}, ["cbn_initialization = 'ones'", "identity, network"]),
        ({"conditioning": "concat"}, ["conditioning = 'concat'", "projection, auxiliary"]),
        ({"cbn_spectral_norm": True}, ["cbn_spectral_norm", "cbn_initialization"]),
        ({"g_attention": (5,)}, ["generator", "5x5", "[8, 16, 32]"]),
        ({"d_attention": (8, 8)}, ["discriminator", "[8, 8]", "repeat"]),
    ],
)
def test_invalid_configurations_are_errors(changes, words):
    system = replace(at_resolution("sagan", 32), **changes)
    with pytest.raises(ValueError) as error:  # noqa: PT011 - words are checked below
        _networks(system, 32)
    for word in words:
        assert word in str(error.value)


def test_too_few_classes_are_errors():
    sizes = {"resolution": 32, "image_channels": 1, "width": 2}
    system = at_resolution("sagan", 32)
    for num_classes in (0, -1):
        with pytest.raises(ValueError, match=f"num_classes = {num_classes}; at least 1"):
            discriminator_config(system, **sizes, num_classes=num_classes)
    with pytest.raises(ValueError, match=r"at least 2 classes.*'projection'"):
        discriminator_config(at_resolution("acgan", 32), **sizes, num_classes=1)


def test_shortcut_relu_applies_to_all_but_the_first_shortcut():
    """d_shortcut_relu: shortcuts of relu(x), as an in-place ReLU makes them."""
    outs = []
    for flag in (False, True):
        system = replace(at_resolution("no-attention", 32), d_shortcut_relu=flag)
        sizes = {"resolution": 32, "image_channels": 3, "num_classes": 4, "width": 2}
        D = Discriminator(discriminator_config(system, **sizes))
        D.initialize(torch.Generator().manual_seed(0))
        first, second = D.blocks[0], D.blocks[1]
        x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        h = first(x)
        outs.append((h, second(h), second(h.clamp(min=0))))
    (plain_first, plain, plain_of_relu), (flag_first, flagged, _) = outs
    assert torch.equal(plain_first, flag_first)
    assert not torch.equal(plain, flagged)
    torch.testing.assert_close(flagged, plain_of_relu)
