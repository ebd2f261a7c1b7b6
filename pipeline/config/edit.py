"""Changes values in the text of a YAML file; its comments, order and layout stay."""

import io
from collections.abc import Mapping
from typing import Any

import yaml
from ruamel.yaml import YAML, RoundTripRepresenter, YAMLError
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.nodes import ScalarNode

from pipeline.config.overrides import with_values
from pipeline.core.errors import UserError

_WIDTH = 10_000  # no line is folded


def edited(text: str, values: Mapping[str, Any], origin: str) -> str:
    """`text` with other values at dotted keys such as `train.g_lr`.

    A comment after a value keeps its column where the new value leaves room. A key that its section
    lacks is added before the section's last key, as the lines after that one belong to it. Raises
    UserError for a section that does not exist.
    """
    expected = with_values(yaml.safe_load(text), values)
    round_trip = _round_trip()
    try:
        content = round_trip.load(text)
    except YAMLError as error:
        raise UserError(f"{origin} is not valid YAML: {' '.join(str(error).split())}") from None
    for key, value in values.items():
        path, _, name = key.rpartition(".")
        section = content
        for part in path.split(".") if path else []:
            section = section.get(part) if isinstance(section, CommentedMap) else None
        if not isinstance(section, CommentedMap):
            raise UserError(f"{origin} has no section `{path}:`, where {key} belongs; add it")
        node = round_trip.load(yaml_text(value))  # on one line, in our notation of numbers
        if name in section:
            section[name] = node
        else:
            section.insert(max(0, len(section) - 1), name, node)
    changed = io.StringIO()
    round_trip.dump(content, changed)
    assert yaml.safe_load(changed.getvalue()) == expected, f"{origin}: the edit went wrong"
    return changed.getvalue()


def yaml_text(value: Any) -> str:
    """A value as YAML on one line."""
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=_WIDTH, allow_unicode=True)
    return dumped.removesuffix("\n").removesuffix("\n...")


class _Representer(RoundTripRepresenter):
    """Writes `null`, which ruamel.yaml leaves out."""


def _represent_null(representer: RoundTripRepresenter, value: None) -> ScalarNode:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _represent_null)


def _round_trip() -> YAML:
    """As params.yaml and configs/ are laid out."""
    round_trip = YAML()
    round_trip.Representer = _Representer
    round_trip.preserve_quotes = True
    round_trip.width = _WIDTH
    round_trip.indent(mapping=2, sequence=4, offset=2)
    return round_trip
