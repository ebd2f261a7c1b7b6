"""The cost summary: published figures, the command, and the dry run against a real one."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from models.cost import (
    discriminator_layers,
    flops_per_image_step,
    generator_layers,
    meta_networks,
)
from models.measured_cost import UpdateCost, measure_d_update, measure_g_update
from models.networks import discriminator_config, generator_config
from models.summary import main, memory_at, summarize
from models.variants import VARIANTS, System, at_resolution
from pipeline.training.draws import draw_for_d, draw_for_g
from pipeline.training.settings import TrainSettings
from pipeline.training.state import TrainState
from pipeline.training.steps import d_step, g_step

ROOT = Path(__file__).resolve().parents[2]


def _sizes(resolution: int, num_classes: int, width: int) -> dict:
    return {
        "resolution": resolution,
        "image_channels": 3,
        "num_classes": num_classes,
        "width": width,
    }


def _configs(system: System, sizes: dict, z_dim: int = 128) -> tuple:
    return generator_config(system, **sizes, z_dim=z_dim), discriminator_config(system, **sizes)


def _layers(variant: str, resolution: int, num_classes: int) -> tuple[list, list]:
    system = at_resolution(variant, resolution)
    G, D = meta_networks(*_configs(system, _sizes(resolution, num_classes, 64)))
    return generator_layers(G), discriminator_layers(D)


# Multiply-adds in units of 1e9 and FLOPs of a step in 1e9: computed from the published code.
@pytest.mark.parametrize(
    ("variant", "resolution", "num_classes", "g_macs", "d_macs", "step"),
    [
        ("sagan-feat32", 128, 1000, 9.22, 4.74, 149.4),
        ("sagan-feat64", 128, 1000, 9.51, 4.88, 154.4),
        ("sagan-feat32", 64, 200, 2.00, 1.11, 33.8),
        ("sagan-feat16", 32, 10, 1.70, 0.28, 18.1),
    ],
)
def test_published_arithmetic(variant, resolution, num_classes, g_macs, d_macs, step):
    g_layers, d_layers = _layers(variant, resolution, num_classes)
    assert round(sum(layer.macs for layer in g_layers) / 1e9, 2) == g_macs
    assert round(sum(layer.macs for layer in d_layers) / 1e9, 2) == d_macs
    flops = flops_per_image_step(g_layers, d_layers, d_steps=1, gradient_penalty=False)
    assert round(flops / 1e9, 1) == step


def test_step_counts_the_passes_of_a_ratio():
    """With nothing special (no attention), whole networks: G 1 + 3 / n, D 6 + 2 / n."""
    g_layers, d_layers = _layers("no-attention", 32, 10)
    g = sum(layer.macs for layer in g_layers)
    d = sum(layer.macs for layer in d_layers)
    g_input = 128 * 4096  # no gradient of the latents
    d_input = 3 * 128 * 9 * 32 * 32 + 3 * 128 * 16 * 16  # nor, in D's own update, of the images
    for n in (1, 5):
        flops = flops_per_image_step(g_layers, d_layers, d_steps=n, gradient_penalty=False)
        expected = 2 * (g + 6 * d - 2 * d_input) + 2 * (3 * g - g_input + 2 * d) // n
        assert flops == expected
        penalised = flops_per_image_step(g_layers, d_layers, d_steps=n, gradient_penalty=True)
        assert penalised - flops == 2 * 6 * d


@pytest.mark.parametrize("variant", VARIANTS)
def test_layers_have_all_parameters(variant):
    system = at_resolution(variant, 128)
    G, D = meta_networks(*_configs(system, _sizes(128, 10, 8)))
    for network, layers in ((G, generator_layers(G)), (D, discriminator_layers(D))):
        assert sum(layer.parameters for layer in layers) == sum(
            p.numel() for p in network.parameters()
        )
        assert len({layer.name for layer in layers}) == len(layers)


SMALL = {
    "sagan": at_resolution("sagan", 32),
    "text": replace(at_resolution("sagan", 32), attention_form="paper"),
    "residual": at_resolution("residual-feat16", 32),
    "acgan": at_resolution("acgan", 32),
    "penalty": replace(at_resolution("sagan", 32), loss="wasserstein-gp"),
    "studiogan": at_resolution("studiogan-recipe", 32),
}


@cache
def _measured(name: str) -> tuple[UpdateCost, UpdateCost]:
    """Of D's and G's update, on the meta device."""
    G, D = meta_networks(*_configs(SMALL[name], _sizes(32, 4, 8), z_dim=8))
    loss = SMALL[name].loss
    return measure_d_update(G, D, loss), measure_g_update(G, D, loss)


def _real_updates(name: str, batch: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """The trainer's own steps, on the CPU."""
    system = SMALL[name]
    g_config, d_config = _configs(system, _sizes(32, 4, 8), z_dim=8)
    settings = TrainSettings(
        generator=g_config,
        discriminator=d_config,
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
    return (
        lambda: d_step(settings, state, real, labels, d_draws, lr=0.0),
        lambda: g_step(settings, state, g_draws, lr=0.0),
    )


@pytest.mark.parametrize("name", [name for name in SMALL if name != "penalty"])
def test_measured_flops_are_those_of_real_updates(name):
    """At a third batch, by torch's own counter, which refuses the gradient penalty."""
    for cost, step in zip(_measured(name), _real_updates(name, batch=6), strict=True):
        with FlopCounterMode(display=False) as counter:
            step()
        assert counter.get_total_flops() == cost.flops_constant + 6 * cost.flops_per_image


@pytest.mark.parametrize("name", SMALL)
def test_saved_bytes_are_those_of_real_updates(name):
    for cost, step in zip(_measured(name), _real_updates(name, batch=6), strict=True):
        kept: dict[int, torch.Tensor] = {}

        def pack(saved, kept=kept):
            if not (saved.is_leaf and saved.requires_grad and saved.grad_fn is None):
                kept[saved.untyped_storage().data_ptr()] = saved.detach()
            return saved

        with saved_tensors_hooks(pack, lambda packed: packed):
            step()
        total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
        expected = cost.saved_bytes_constant + 6 * cost.saved_bytes_per_image
        assert total == pytest.approx(expected, rel=1e-4)  # but for a few scalars


def test_attention_bytes_are_the_weights():
    """They are what the summary says a fused kernel saves, less one sum for each query."""
    for form, keys in (("released", 64), ("paper", 256)):
        system = replace(SMALL["sagan"], attention_form=form)
        G, D = meta_networks(*_configs(system, _sizes(32, 4, 64)))
        cost = measure_g_update(G, D, "hinge")
        assert cost.attention_bytes_per_image == 2 * 256 * (4 * keys - 4)
        assert measure_d_update(G, D, "hinge").attention_bytes_per_image == 2 * 256 * (4 * keys - 4)
        thin_G, thin_D = meta_networks(*_configs(system, _sizes(32, 4, 12)))  # 6 and 3 queries
        assert measure_g_update(thin_G, thin_D, "hinge").attention_bytes_per_image == 0


def test_bf16_halves_activations():
    system = at_resolution("sagan", 32)
    at = {
        precision: summarize(
            system,
            resolution=32,
            num_classes=10,
            width=64,
            image_channels=3,
            z_dim=128,
            precision=precision,
        )
        for precision in ("fp32", "bf16")
    }
    ratio = at["bf16"]["activation_bytes_per_image"] / at["fp32"]["activation_bytes_per_image"]
    assert 0.5 <= ratio < 0.52  # images, indices of pooling and the last layers stay as they are
    assert at["bf16"]["weight_bytes"] == at["fp32"]["weight_bytes"] == 4 * (4386308 + 1075586)
    grown = memory_at(at["bf16"], 65)["memory_bytes"] - memory_at(at["bf16"], 64)["memory_bytes"]
    assert grown == at["bf16"]["activation_bytes_per_image"]


@pytest.mark.parametrize(
    ("arguments", "g_parameters", "d_parameters"),
    [
        ("--variant sagan-feat64", 42017412, 39448258),
        ("--variant sagan-feat32 --resolution 64 --classes 200", 13387396, 19752642),
        ("--variant sagan-feat16 --resolution 32 --classes 10 --batch 64", 4386308, 1075586),
        ("--variant biggan-recipe --resolution 32 --classes 10 --batch 64", 4386308, 1075586),
    ],
)
def test_json(capsys, arguments, g_parameters, d_parameters):
    main([*arguments.split(), "--json"])
    summary = json.loads(capsys.readouterr().out)
    assert summary["generator"]["parameters"] == g_parameters
    assert summary["discriminator"]["parameters"] == d_parameters
    assert summary["variant"] == arguments.split()[1]
    executed = summary["executed_flops_per_image_step"]
    assert 0.55 < executed / summary["flops_per_image_step"] < 0.7  # what folding leaves
    larger = max(summary[f"activation_bytes_per_image_{n}_update"] for n in "dg")
    assert summary["activation_bytes_per_image"] == larger
    assert ("memory_bytes" in summary) == ("--batch" in arguments)


def test_text_shows_layers_and_totals(capsys):
    main(["--resolution", "64", "--classes", "200", "--batch", "8"])
    text = capsys.readouterr().out
    assert text.startswith("sagan at 64x64, 200 classes, width 64, fp32\n")
    rows = [line.split() for line in text.splitlines()]
    assert ["total", "13,387,396", "1,997,275,136"] in rows
    assert ["total", "19,752,642", "1,113,524,224"] in rows
    assert ["blocks.0.shortcut", "up,", "conv", "1x1", "512x8x8", "524,800", "33,554,432"] in rows
    assert "33.78 GFLOP" in text
    assert "memory at 8 images at once" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--variant sagan-feat63", ["'sagan-feat63'", "nearest is 'sagan-feat64'", "acgan"]),
        (
            "--variant sagan-feat64 --resolution 64",
            ["sagan-feat64", "sagan-feat8, sagan-feat16, sagan-feat32"],
        ),
        ("--classes 0", ["--classes 0", "at least 1", "1048576"]),
        ("--classes many", ["--classes", "'many'"]),
        ("--resolution 100", ["100", "[32, 64, 128]"]),
        ("--variant acgan --classes 1", ["auxiliary-classifier", "at least 2", "projection"]),
        ("--precision fp16", ["--precision", "fp32", "bf16"]),
        ("--variant biggan-recipe --batch 33", ["--batch 33", "32"]),
        ("--colour", ["--colour"]),
    ],
)
def test_mistakes_are_one_sentence(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err


def test_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "models.summary", "--classes", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: --classes 0 ")
