"""Numbers as people read them."""

import math
from itertools import pairwise


def significant(value: float, digits: int = 3) -> str:
    """`value` to so many significant digits, without exponent in 1e-4..1e7, thousands parted."""
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    rounded = round(value, digits - 1 - magnitude)
    magnitude = math.floor(math.log10(abs(rounded)))  # 9.996 became 10.0
    if not -4 <= magnitude < 7:
        return f"{value:.{digits - 1}e}"
    return f"{rounded:,.{max(0, digits - 1 - magnitude)}f}"


def percent(share: float) -> str:
    """A share in 0..1 as per cent with one decimal: 0.9684 -> `96.8 %`."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else "not finite"


def count(number: int) -> str:
    """A whole number with its thousands parted."""
    return f"{number:,}"


def duration(seconds: float) -> str:
    """Two units at most: `3 min 41 s`, `5 h 2 min`, `2 d 4 h`."""
    whole = round(seconds)
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    for (size, name), (next_size, next_name) in pairwise(units):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // next_size} {next_name}"
    return f"{whole} s"


def kimg(nimg: int) -> str:
    """Images seen, in thousands: 96000 -> `96`, 1536 -> `1.54`."""
    return f"{significant(nimg / 1000):s}" if nimg < 100_000 else f"{nimg / 1000:,.0f}"
