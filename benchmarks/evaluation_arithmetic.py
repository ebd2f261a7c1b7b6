"""How fast distances of features are computed, beside a matrix square root and torch-fidelity.

Called by `python -m benchmarks.evaluation`. The features are as an Inception's: 2048, correlated,
none below zero.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.linalg

from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.metrics.frechet import Normal, frechet_distance
from pipeline.evaluation.metrics.intra_fid import ClassDistances, intra_fid
from pipeline.evaluation.metrics.moments import Moments

DIM = 2048
NUM_CLASSES = 1000
GENERATED_PER_CLASS = 50
REAL_PER_CLASS = 1300
_CALLS = {"fid": 7}  # in a round: too short for one to tell

Features = npt.NDArray[np.float32]


def measure(num_samples: int = 10_000, rounds: int = 3) -> dict[str, float]:
    """Seconds, ratios and relative differences; medians of rounds in which all take turns.

    `fid_vs_sqrtm` is how many times faster FID comes from given moments than by
    `scipy.linalg.sqrtm`, with a cached factor of the real images; `fid_difference` how far apart
    the two are; `intra_fid_seconds` what 1,000 classes of 50 generated and 1,300 real images take.
    """
    generated, real = make_features(0, num_samples, 0.05), make_features(1, num_samples, 0.0)
    moments = Moments.of(generated), Moments.of(real)
    started = time.perf_counter()
    factor = Normal.of_moments(moments[1])
    factor_s = time.perf_counter() - started

    seconds: dict[str, list[float]] = {}
    values: dict[str, float] = {}
    ways: dict[str, Callable[[], float]] = {
        "fid": lambda: frechet_distance(moments[0], factor),
        "sqrtm": lambda: by_matrix_root(*moments),
        "torch_fidelity": lambda: by_torch_fidelity(*moments),
    }
    ways["fid"]()  # the first call starts the threads
    for _ in range(rounds):
        for name, way in ways.items():
            spent, values[name] = timed(way, _CALLS.get(name, 1))
            seconds.setdefault(name, []).append(spent)
        spent, _ = timed(lambda: measure_classes(generated, real).mean, 1)
        seconds.setdefault("intra_fid", []).append(spent)

    def ratio(name: str) -> float:
        return statistics.median(
            theirs / ours for theirs, ours in zip(seconds[name], seconds["fid"], strict=True)
        )

    result = {f"{name}_seconds": statistics.median(each) for name, each in seconds.items()}
    result["factor_seconds"] = factor_s
    result["fid_vs_sqrtm"] = ratio("sqrtm")
    result["fid_vs_torch_fidelity"] = ratio("torch_fidelity")
    result["fid_difference"] = abs(values["fid"] / values["sqrtm"] - 1)
    return result


def timed(way: Callable[[], float], calls: int) -> tuple[float, float]:
    """Median seconds of a call, and what the last one gave."""
    spent, value = [], 0.0
    for _ in range(calls):
        started = time.perf_counter()
        value = way()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent), value


def make_features(seed: int, count: int, shift: float) -> Features:
    """[count, 2048] of seeded normal vectors, mixed and rectified."""
    mixing = np.random.default_rng(99).normal(size=(DIM, DIM)).astype(np.float32) / DIM**0.5
    vectors = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return np.maximum(vectors @ mixing + np.float32(shift), 0)


def by_matrix_root(generated: Moments, real: Moments) -> float:
    """FID as pytorch-fid and clean-fid compute it."""
    a, b = generated.covariance, real.covariance
    shift = generated.mean - real.mean
    root = np.real(scipy.linalg.sqrtm(a @ b))
    return float(shift @ shift + np.trace(a) + np.trace(b) - 2 * np.trace(root))


def by_torch_fidelity(generated: Moments, real: Moments) -> float:
    """FID by its function, from the same float64 moments."""
    metric = import_torch_fidelity("metric_fid")
    statistics_ = [{"mu": each.mean, "sigma": each.covariance} for each in (generated, real)]
    return float(metric.fid_statistics_to_metric(*statistics_, False)[metric.KEY_METRIC_FID])


def measure_classes(generated: Features, real: Features) -> ClassDistances:
    """Intra-FID; classes are overlapping stretches, since 1.3 million images fill the memory."""

    def stretch(features: Features, count: int) -> Callable[[int], Features]:
        starts = np.linspace(0, len(features) - count, NUM_CLASSES).astype(int)
        return lambda label: features[starts[label] : starts[label] + count]

    return intra_fid(
        stretch(generated, GENERATED_PER_CLASS), stretch(real, REAL_PER_CLASS), NUM_CLASSES
    )
