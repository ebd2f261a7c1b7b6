"""Points of a search space: the whole grid, random ones, and the corners that must be valid."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping

from pipeline.config.search import Range
from pipeline.search.study import Config, derived_seed

Space = Mapping[str, Range]
_DIGITS = 6  # significant ones of what is drawn: as they are printed, so they are


def grid_points(space: Space) -> list[Config]:
    """Every combination, the last key quickest; only for spaces of values to go through."""
    return [
        dict(zip(space, values, strict=True))
        for values in itertools.product(*(values.values for values in space.values()))
    ]


def random_point(space: Space, *seed: object) -> Config:
    """One draw, a function of `seed` alone."""
    return {key: _draw(values, *seed, key) for key, values in space.items()}


def corners(space: Space) -> Iterator[Config]:
    """Every combination of choices, with continuous ranges at either end together."""
    ends = (0, 1) if any(values.bounds for values in space.values()) else (0,)
    for end in ends:
        options = [
            [values.bounds[end]] if values.bounds else values.values for values in space.values()
        ]
        for values in itertools.product(*options):
            yield dict(zip(space, values, strict=True))


def rounded(value: float, bounds: tuple[float, float]) -> float:
    """To the digits that a table shows, and not beyond the bounds."""
    low, high = bounds
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)


def _draw(values: Range, *seed: object) -> object:
    generator = random.Random(derived_seed(*seed))
    if values.bounds is None:
        return generator.choice(values.values)
    low, high = values.bounds
    if values.loguniform is not None:
        drawn = math.exp(generator.uniform(math.log(low), math.log(high)))
        return rounded(drawn, values.bounds)
    return rounded(generator.uniform(low, high), values.bounds)
