"""Formats numbers for readers."""

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
        return _minus(f"{value:.{digits - 1}e}")
    return _minus(f"{rounded:,.{max(0, digits - 1 - magnitude)}f}")


def with_std(value: float, std: float) -> tuple[str, str]:
    """A value to the place of its standard deviation's second digit, and that: 9.214 and 0.043."""
    if not (math.isfinite(value) and math.isfinite(std)) or std <= 0:
        return significant(value), significant(std, 2)
    places = 1 - math.floor(math.log10(std))
    if places > 6:
        return significant(value), significant(std, 2)
    places = max(0, places)
    return _minus(f"{value:,.{places}f}"), f"{std:,.{places}f}"


def with_interval(value: float, low: float, high: float) -> tuple[str, str]:
    """A value and its ends, to the place of their distance's second digit: 12.35, [12.10, 12.60].

    Without a distance, or beyond six places, to three significant digits.
    """
    reach = (high - low) / 2
    places = 1 - math.floor(math.log10(reach)) if math.isfinite(reach) and reach > 0 else 7
    if places > 6:
        return significant(value), f"[{significant(low)}, {significant(high)}]"
    places = max(0, places)
    middle, lower, upper = (_minus(f"{number:,.{places}f}") for number in (value, low, high))
    return middle, f"[{lower}, {upper}]"


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


def kimg(nimg: int, digits: int = 3) -> str:
    """Images seen, in thousands: 96000 -> `96`, 1536 -> `1.54`."""
    thousands = nimg / 1000
    return f"{thousands:.{digits}g}" if thousands < 10**digits else f"{thousands:,.0f}"


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
