"""Configurations of a study: points of its search space, and the names of trials."""

import hashlib
import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.config.search import Range

Config = dict[str, Any]
"""Values by dotted keys of `params.yaml`."""
Space = Mapping[str, Range]
_DIGITS = 6  # significant digits of drawn values, so that a printed value is the value


def grid_points(space: Space) -> list[Config]:
    """Every combination, the last key varying fastest; only for spaces of discrete values."""
    return [
        dict(zip(space, values, strict=True))
        for values in itertools.product(*(values.values for values in space.values()))
    ]


def random_point(space: Space, *seed: object) -> Config:
    """One draw, a function of `seed` alone."""
    return {key: _draw(values, *seed, key) for key, values in space.items()}


def corners(space: Space) -> Iterator[Config]:
    """Every combination of choices, with all continuous ranges at their low or high end."""
    ends = (0, 1) if any(values.bounds for values in space.values()) else (0,)
    for end in ends:
        options = [
            [values.bounds[end]] if values.bounds else values.values for values in space.values()
        ]
        for values in itertools.product(*options):
            yield dict(zip(space, values, strict=True))


def rounded(value: float, bounds: tuple[float, float]) -> float:
    """The value at six significant digits, within the bounds."""
    low, high = bounds
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)


def derived_seed(*parts: object) -> int:
    """A number below 2^32 that depends on all parts and on nothing else."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def trial_id(index: int, seed: int) -> str:
    """`007-s1`: the study's eighth configuration with seed 1."""
    return f"{index:03d}-s{seed}"


def trial_name(config: Mapping[str, Any], seed: int | None = None) -> str:
    """`g_lr=1e-4 d_lr=4e-4 seed=0`; the same trial has the same name in every study."""
    names = short_keys(config)
    parts = [f"{names[key]}={value_text(value)}" for key, value in config.items()]
    return " ".join(parts if seed is None else [*parts, f"seed={seed}"])


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Dotted keys without their section where that is unambiguous: `train.g_lr` -> `g_lr`."""
    whole = list(keys)
    last = [key.rpartition(".")[2] for key in whole]
    return {
        key: key if last.count(short) > 1 else short for key, short in zip(whole, last, strict=True)
    }


def value_text(value: Any) -> str:
    """A value in the notation of params.yaml: 0.0001 -> `1e-4`, None -> `null`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(value_text(part) for part in value)}]"
    return str(value)


def _number(value: float) -> str:
    """Three significant digits; scientific notation below 0.01 and from a million on."""
    text = f"{value:.3g}"
    if value and (abs(value) < 1e-2 or abs(value) >= 1e6):
        digits, _, exponent = f"{value:.2e}".partition("e")
        text = f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
    return text


def _draw(values: Range, *seed: object) -> object:
    generator = random.Random(derived_seed(*seed))
    if values.bounds is None:
        return generator.choice(values.values)
    low, high = values.bounds
    if values.loguniform is not None:
        drawn = math.exp(generator.uniform(math.log(low), math.log(high)))
        return rounded(drawn, values.bounds)
    return rounded(generator.uniform(low, high), values.bounds)
