"""What a trial is called wherever people compare it: by what sets it apart from the others."""

from collections.abc import Iterable, Mapping
from typing import Any


def trial_name(config: Mapping[str, Any], seed: int | None = None) -> str:
    """`g_lr=1e-4 d_lr=4e-4 seed=0`; the same trial has the same name in every study."""
    names = short_keys(config)
    parts = [f"{names[key]}={value_text(value)}" for key, value in config.items()]
    return " ".join(parts if seed is None else [*parts, f"seed={seed}"])


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Dotted keys without their section, where that leaves them apart: `train.g_lr` -> `g_lr`."""
    whole = list(keys)
    last = [key.rpartition(".")[2] for key in whole]
    return {
        key: key if last.count(short) > 1 else short for key, short in zip(whole, last, strict=True)
    }


def value_text(value: Any) -> str:
    """A value as people write it in params.yaml: 0.0001 -> `1e-4`, None -> `null`."""
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
    """Three significant digits, for names; powers of ten where zeros would fill the place."""
    text = f"{value:.3g}"
    if value and (abs(value) < 1e-2 or abs(value) >= 1e6):
        digits, _, exponent = f"{value:.2e}".partition("e")
        text = f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
    return text
