"""The model summary: published figures, the trainer's own steps, and the published networks."""

import json
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.model_summary import main, step_flops, unfold
from models.configuration import discriminator_config, generator_config
from models.discriminator import Discriminator
from models.generator import Generator
from models.variants import System, at_resolution
from pipeline.training.draws import draw_for_d, draw_for_g
from pipeline.training.settings import TrainSettings
from pipeline.training.state import TrainState
from pipeline.training.steps import d_step, g_step
from tests.models import released


# FLOPs in 1e9; executed: here, with resampling folded; unfolded: computed from the published code.
@pytest.mark.parametrize(
    ("arguments", "g_parameters", "d_parameters", "executed", "unfolded"),
    [
        ("--variant sagan-feat64", 42_017_412, 39_448_258, 98.2, 154.4),
        ("--resolution 64 --classes 200", 13_387_396, 19_752_642, 21.9, 33.8),
        ("--resolution 32 --classes 10", 4_386_308, 1_075_586, 12.3, 18.1),
        (
            "--variant biggan-recipe --resolution 32 --classes 10",
            4_386_308,
            1_075_586,
            12.3,
            18.1,
        ),
    ],
)
def test_published_figures(capsys, arguments, g_parameters, d_parameters, executed, unfolded):
    main([*arguments.split(), "--json"])
    summary = json.loads(capsys.readouterr().out)
    assert summary["generator"]["parameters"] == g_parameters
    assert summary["discriminator"]["parameters"] == d_parameters
    assert round(summary["flops_per_image_step"] / 1e9, 1) == executed
    assert round(summary["unfolded_flops_per_image_step"] / 1e9, 1) == unfolded


SMALL = {
    "sagan": at_resolution("sagan", 32),
    "text": replace(at_resolution("sagan", 32), attention_form="paper"),
    "residual": at_resolution("residual-feat16", 32),
    "acgan": replace(at_resolution("acgan", 32), d_steps=1),
    "studiogan": at_resolution("studiogan-recipe", 32),
}
SIZES = {"resolution": 32, "image_channels": 3, "num_classes": 4, "width": 8}


def _networks(system: System, device: str) -> tuple[Generator, Discriminator]:
    with torch.device(device):
        return (
            Generator(generator_config(system, **SIZES, z_dim=8)),
            Discriminator(discriminator_config(system, **SIZES)),
        )


@pytest.mark.parametrize("name", SMALL)
def test_flops_are_those_of_the_trainers_steps(name):
    """At a third batch, on the CPU."""
    system, batch = SMALL[name], 6
    per_image, constant = step_flops(*_networks(system, "meta"), system.d_steps)
    settings = TrainSettings(
        generator=generator_config(system, **SIZES, z_dim=8),
        discriminator=discriminator_config(system, **SIZES),
        seed=0,
        total_kimg=1,
        batch=batch,
        g_lr=0.0,
        d_lr=0.0,
        loss=system.loss,
        adam_beta1=0.0,
        adam_beta2=0.9,
        adam_eps=1e-8,
        ema_halflife_kimg=None,
        precision="fp32",
        snapshot_kimg=1,
    )
    state = TrainState(settings, "cpu")
    real, labels = torch.zeros(batch, 3, 32, 32), torch.zeros(batch, dtype=torch.int64)
    d_draws, g_draws = draw_for_d(settings, 0, "cpu"), draw_for_g(settings, 0, "cpu")
    with FlopCounterMode(display=False) as counter:
        d_step(settings, state, real, labels, d_draws, lr=0.0)
        g_step(settings, state, g_draws, lr=0.0)
    assert counter.get_total_flops() == constant + batch * per_image


def test_fewer_updates_of_g_cost_less():
    """Of the step, D's update remains, and the fifth part of G's."""
    G, D = _networks(SMALL["sagan"], "meta")
    both, _ = step_flops(G, D, 1)
    d_alone, _ = step_flops(G, D, 10**12)
    assert step_flops(G, D, 5)[0] == d_alone + (both - d_alone) // 5


def test_unfolding_keeps_outputs():
    G, D = _networks(SMALL["sagan"], "cpu")
    for network in (G, D):
        network.double()
        network.compute_dtype = torch.float64
        network.initialize(torch.Generator().manual_seed(0))
    z, y = torch.randn(4, 8, dtype=torch.float64), torch.arange(4)
    images = G(z, y)
    logits, _ = D(images, y)
    unfold(G)
    unfold(D)
    torch.testing.assert_close(G(z, y), images)
    torch.testing.assert_close(D(images, y)[0], logits)


@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_unfolded_flops_are_those_of_the_published_networks(monkeypatch, resolution):
    monkeypatch.setattr(released, "spectral_norm", lambda layer: layer)
    width = 16  # at 8 the keys have one channel, and einsum multiplies elementwise
    sizes = {**SIZES, "resolution": resolution, "width": width}
    attention = resolution // 2
    system = replace(
        at_resolution("sagan", resolution), g_spectral_norm=False, d_spectral_norm=False
    )
    with torch.device("meta"):
        G = Generator(generator_config(system, **sizes, z_dim=8))
        D = Discriminator(discriminator_config(system, **sizes))
        published_G = released.Generator(resolution, 4, width, 8, (attention,))
        published_D = released.Discriminator(resolution, 4, width, (attention,))
        z, y = torch.empty(2, 8), torch.zeros(2, dtype=torch.int64)
        x = torch.empty(2, 3, resolution, resolution)
    unfold(G)
    unfold(D)
    projection = 2 * 2 * D.linear.weight.numel()  # elementwise in ours, a matrix product in theirs
    for ours, published, inputs, uncounted in (
        (G, published_G, z, 0),
        (D, published_D, x, projection),
    ):
        totals = []
        for network in (ours, published):
            with FlopCounterMode(display=False) as counter:
                network(inputs, y)
            totals.append(counter.get_total_flops())
        assert totals[0] + uncounted == totals[1]


def test_table(capsys):
    main(["--resolution", "64", "--classes", "200"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["blocks.0.shortcut", "Conv1x1", "524,800", "16,777,216"] in rows
    assert ["unfolded_flops_per_image_step", "33.78", "GFLOP"] in rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--variant sagan-feat63", "the nearest is 'sagan-feat64'"),
        ("--variant sagan-feat64 --resolution 64", "sagan-feat8, sagan-feat16, sagan-feat32"),
        ("--classes 0", "num_classes = 0; at least 1 is needed"),
        ("--resolution 100", "[32, 64, 128]"),
    ],
)
def test_mistakes(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
