"""Values put in place of those in `params.yaml`, by dotted keys."""

import copy
from collections.abc import Mapping
from typing import Any

import yaml

from pipeline.core.errors import UserError


def read_assignment(text: str) -> tuple[str, Any]:
    """`train.g_lr=1e-4` as the key and its value, read as YAML.

    Raises UserError for what has no key, or a value that is no YAML.
    """
    key, equals, value = text.partition("=")
    if not key.strip() or not equals:
        raise UserError(f"-S {text!r} must be key=value, such as -S train.batch=32")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"-S {text!r}: {value!r} is not valid YAML") from None


def with_values(content: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested sections with other values at dotted keys.

    Sections that are missing are made. Raises UserError for a key below one that is no section.
    """
    changed = copy.deepcopy(dict(content))
    for key, value in values.items():
        *parents, last = _parts(changed, key)
        section = changed
        for i, part in enumerate(parents):
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise UserError(
                    f"{key} = {value!r}: {'.'.join(parents[: i + 1])} is {section!r} and has no "
                    "keys below it"
                )
        section[last] = copy.deepcopy(value)
    return changed


def _parts(content: Mapping[str, Any], key: str) -> list[str]:
    """A key's parts; below a study's `space` and `params` dots belong to names."""
    parts = key.split(".")
    for place in ("space", "params"):
        if parts[0] == "search" and place in parts[2:4]:
            at = parts.index(place, 2) + 1
            rest = parts[at:]
            # `train.g_lr` is one key there, and what stands under it is a range.
            return [*parts[:at], ".".join(rest[:2]), *rest[2:]] if rest else parts
    return parts
