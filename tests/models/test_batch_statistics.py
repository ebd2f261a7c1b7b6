"""Batch statistics of ghost batches and of several real processes, against F.batch_norm."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import multiprocessing

from models.batch_statistics import normalize_ghost, normalize_global
from models.normalization import BatchNorm, BatchStatistics, ConditionalBatchNorm

EPS = 1e-4
DTYPES = {"float64": torch.float64, "float32": torch.float32, "bf16": torch.bfloat16}
BATCH, CLASSES, CHANNELS = 8, 3, 5


def _draw(purpose: int, dtype: torch.dtype) -> torch.Tensor:
    """(B, C, H, W), whose images differ in mean and variance, so that shares of a batch do too."""
    draws = torch.Generator().manual_seed(purpose)
    x = torch.randn(BATCH, CHANNELS, 3, 2, generator=draws, dtype=torch.float64)
    slope = torch.linspace(0.5, 2, BATCH, dtype=torch.float64)[:, None, None, None]
    return (x * slope + 3 * slope).to(dtype)


LABELS = torch.tensor([0, 2, 1, 1, 0, 2, 2, 0])


def _norms() -> dict[str, torch.nn.Module]:
    """Both kinds, with the same gains and biases in each process."""
    statistics = BatchStatistics(scope="global", eps=EPS)
    conditional = ConditionalBatchNorm(CLASSES, CHANNELS, statistics)
    norms = {"plain": BatchNorm(CHANNELS, statistics), "conditional": conditional}
    draws = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for norm in norms.values():
            norm.double()
            for parameter in norm.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=draws))
    return norms


def _run(norm: torch.nn.Module, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return norm(x, labels) if isinstance(norm, ConditionalBatchNorm) else norm(x)


def _work(rank: int, folder: str) -> None:
    """One of four processes: normalises its share with three others, then with one."""
    torch.set_num_threads(1)
    for world in (4, 2):
        if rank >= world:
            return
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/rendezvous-{world}", rank=rank, world_size=world
        )
        share = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
        results = {}
        for name, dtype in DTYPES.items():
            x = _draw(0, dtype)[share].requires_grad_()
            out = normalize_global(x, EPS)
            out.backward(_draw(1, dtype)[share])
            results[name] = (out.detach(), x.grad)
        for name, norm in _norms().items():
            for synchronized in (True, False):
                norm.synchronized = synchronized
                norm.zero_grad()
                x = _draw(0, torch.float64)[share].requires_grad_()
                out = _run(norm, x, LABELS[share])
                out.backward(_draw(1, torch.float64)[share])
                gradients = [p.grad.clone() for p in norm.parameters()]
                key = name if synchronized else f"{name} alone"
                results[key] = (out.detach(), x.grad, *gradients)
        torch.save(results, f"{folder}/{world}-{rank}.pt")
        dist.barrier()
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def shares(tmp_path_factory) -> dict[int, list[dict]]:
    """Results of each process of 2 and of 4, by rank."""
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.set_forkserver_preload([__name__])  # imported once, not by each
    multiprocessing.start_processes(_work, (str(folder),), nprocs=4, start_method="forkserver")
    return {
        world: [torch.load(Path(folder, f"{world}-{rank}.pt")) for rank in range(world)]
        for world in (2, 4)
    }


def _joined(shares: list[dict], name: str, index: int) -> torch.Tensor:
    return torch.cat([share[name][index] for share in shares])


def _whole(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """By the statistics of the whole batch, in one process: output and input gradient."""
    x = _draw(0, dtype).double().requires_grad_()
    out = F.batch_norm(x, None, None, training=True, eps=EPS)
    out.backward(_draw(1, dtype).double())
    return out.detach(), x.grad


WORLDS = pytest.mark.parametrize("world", [2, 4])


@WORLDS
@pytest.mark.parametrize(
    ("name", "tolerance"), [("float64", 1e-12), ("float32", 1e-6), ("bf16", 2e-2)]
)
def test_processes_normalise_as_one(shares, world, name, tolerance):
    for index, expected in enumerate(_whole(DTYPES[name])):
        actual = _joined(shares[world], name, index)
        assert actual.dtype == DTYPES[name]
        bound = tolerance * expected.abs().max().item()
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=bound)


@WORLDS
@pytest.mark.parametrize("name", ["plain", "conditional"])
def test_layers_of_processes_are_one_layer(shares, world, name):
    """Outputs and input gradients joined, gradients of gains and biases summed."""
    norm = _norms()[name]
    x = _draw(0, torch.float64).requires_grad_()
    out = _run(norm, x, LABELS)
    out.backward(_draw(1, torch.float64))
    close = {"rtol": 1e-11, "atol": 1e-11}
    torch.testing.assert_close(_joined(shares[world], name, 0), out.detach(), **close)
    torch.testing.assert_close(_joined(shares[world], name, 1), x.grad, **close)
    for index, parameter in enumerate(norm.parameters(), start=2):
        total = sum(share[name][index] for share in shares[world])
        torch.testing.assert_close(total, parameter.grad, **close)


@WORLDS
def test_processes_alone_differ(shares, world):
    """Without synchronisation each share has its own statistics, and outputs differ."""
    plain = _norms()["plain"]
    alone = [_joined(shares[world], "plain alone", index) for index in (0, 1)]
    together = [_joined(shares[world], "plain", index) for index in (0, 1)]
    for with_others, without in zip(together, alone, strict=True):
        assert (with_others - without).abs().max() > 0.1
    expected = torch.cat(
        [
            F.batch_norm(part, None, None, plain.gain, plain.bias, training=True, eps=EPS)
            for part in _draw(0, torch.float64).split(BATCH // world)
        ]
    )
    torch.testing.assert_close(alone[0], expected.detach())


@pytest.mark.parametrize("ghost_batch", [1, 2, 4, 8])
@pytest.mark.parametrize("affine", [False, True])
def test_ghost_batches_are_normalised_one_by_one(ghost_batch, affine):
    x = _draw(0, torch.float64).requires_grad_()
    draws = torch.Generator().manual_seed(2)
    gain, bias = (
        torch.randn(CHANNELS, generator=draws, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    )
    scale = (gain, bias) if affine else (None, None)
    out = normalize_ghost(x, ghost_batch, EPS, *scale)
    expected = []
    for start in range(0, BATCH, ghost_batch):
        part = x[start : start + ghost_batch]
        mean = part.mean(dim=(0, 2, 3), keepdim=True)
        var = (part - mean).square().mean(dim=(0, 2, 3), keepdim=True)
        normal = (part - mean) / (var + EPS).sqrt()
        if affine:
            normal = normal * gain[:, None, None] + bias[:, None, None]
        expected.append(normal)
    expected = torch.cat(expected)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    seed = _draw(1, torch.float64)
    at = (x, gain, bias) if affine else (x,)
    for got, want in zip(
        torch.autograd.grad(out, at, seed), torch.autograd.grad(expected, at, seed), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    whole = F.batch_norm(x, None, None, *scale, training=True, eps=EPS)
    assert (ghost_batch == BATCH) == torch.allclose(out, whole)


def test_ghost_batches_must_fill_the_batch():
    with pytest.raises(ValueError, match=r"batch of 8 .* ghost batches of 3"):
        normalize_ghost(_draw(0, torch.float32), 3, EPS)


def test_ghost_keeps_bf16():
    out = normalize_ghost(_draw(0, torch.bfloat16), 4, EPS)
    assert out.dtype == torch.bfloat16
    expected = normalize_ghost(_draw(0, torch.bfloat16).double(), 4, EPS)
    torch.testing.assert_close(out.double(), expected, rtol=0.01, atol=0.02)


def test_scope_chooses_the_statistics():
    """ghost by parts; global and process, in one process, by the whole batch."""
    x = _draw(0, torch.float64)
    outs = {}
    for scope in ("global", "ghost", "process"):
        norm = BatchNorm(CHANNELS, BatchStatistics(scope=scope, ghost_batch=2, eps=EPS)).double()
        outs[scope] = norm(x)
    torch.testing.assert_close(outs["ghost"], normalize_ghost(x, 2, EPS))
    torch.testing.assert_close(outs["global"], normalize_ghost(x, BATCH, EPS))
    assert torch.equal(outs["process"], outs["global"])
