"""Formats numbers for readers."""

import math

import pytest

from pipeline.reporting.numbers import (
    duration,
    kimg,
    percent,
    significant,
    with_interval,
    with_std,
)

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12.3456, "12.3"),
        (9.996, "10.0"),
        (0.999999, "1.00"),
        (1234.5, "1,230"),
        (0.000123, "0.000123"),
        (0.0000123, f"1.23e{MINUS}05"),
        (-0.5, f"{MINUS}0.500"),
        (0.0, "0"),
        (3e9, "3.00e+09"),
        (math.nan, "not finite"),
    ],
)
def test_significant_digits(value, text):
    assert significant(value) == text


@pytest.mark.parametrize(
    ("value", "std", "texts"),
    [
        (9.21437, 0.0432, ("9.214", "0.043")),
        (-0.0001, 0.0003, (f"{MINUS}0.00010", "0.00030")),
        (1234.5678, 56.7, ("1,235", "57")),
        (9.2, 0.0, ("9.20", "0")),
        (9.2, math.nan, ("9.20", "not finite")),
    ],
)
def test_value_ends_where_its_std_ends(value, std, texts):
    assert with_std(value, std) == texts


def test_shares_durations_and_lengths():
    assert percent(0.96842) == "96.8 %"
    assert duration(221.4) == "3 min 41 s"
    assert duration(18_120) == "5 h 2 min"
    assert duration(187_300) == "2 d 4 h"
    assert duration(8.6) == "9 s"
    assert [kimg(n) for n in (96_000, 1536, 64, 256_000_000)] == ["96", "1.54", "0.064", "256,000"]


def test_intervals_go_to_the_second_digit_of_their_reach():
    assert with_interval(12.3456, 12.1, 12.6) == ("12.35", "[12.10, 12.60]")
    assert with_interval(1234.5, 1200, 1270) == ("1,234", "[1,200, 1,270]")
    assert with_interval(0.001, -0.001, 0.003) == (
        "0.0010",
        "[\N{MINUS SIGN}0.0010, 0.0030]",
    )
    assert with_interval(2.0, 2.0, 2.0) == ("2.00", "[2.00, 2.00]")
