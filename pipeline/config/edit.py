"""Changes values in a YAML file's text and nothing else: comments, order and layout stay."""

from collections.abc import Mapping
from typing import Any

import yaml

from pipeline.config.overrides import with_values
from pipeline.core.errors import UserError

_WIDTH = 10_000  # no line is folded


def edited(text: str, values: Mapping[str, Any], origin: str) -> str:
    """`text` with other values at dotted keys such as `train.g_lr`.

    A comment after a value keeps its column where the new value leaves room. A key that its section
    lacks is added at the section's end. Raises UserError for a section that there is not.
    """
    expected = with_values(yaml.safe_load(text), values)
    for key, value in values.items():
        text = _with_value(text, key, value, origin)
    assert yaml.safe_load(text) == expected, f"{origin}: the edit went wrong"
    return text


def yaml_text(value: Any) -> str:
    """A value as YAML on one line."""
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=_WIDTH, allow_unicode=True)
    return dumped.removesuffix("\n").removesuffix("\n...")


def _with_value(text: str, key: str, value: Any, origin: str) -> str:
    section, _, name = key.rpartition(".")
    try:
        mapping = _section(yaml.compose(text, Loader=yaml.SafeLoader), section)
    except yaml.YAMLError as error:
        raise UserError(f"{origin} is not valid YAML: {' '.join(str(error).split())}") from None
    if mapping is None:
        raise UserError(f"{origin} has no section `{section}:`, where {key} belongs; add it")
    for key_node, value_node in mapping.value:
        if key_node.value == name:
            return _replaced(text, key_node, value_node, yaml_text(value))
    return _added(text, mapping, f"{name}: {yaml_text(value)}")


def _section(root: yaml.Node | None, path: str) -> yaml.MappingNode | None:
    node = root
    for part in path.split(".") if path else []:
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for key, value in node.value if key.value == part), None)
    return node if isinstance(node, yaml.MappingNode) and node.value else None


def _replaced(text: str, key: yaml.Node, node: yaml.Node, new: str) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    if start == end:  # `key:` with nothing after it
        start = end = text.index(":", key.end_mark.index) + 1
        new = f" {new}"
    elif text[end - 1] == "\n":  # a block ends where the next key begins
        end = start + len(text[start:end].rstrip())
        start = text.index(":", key.end_mark.index) + 1
        new = f" {new}"
    newline = text.find("\n", end)
    rest = text[end : len(text) if newline < 0 else newline]
    comment = rest.lstrip(" ")
    if comment.startswith("#"):
        column = (end - start) + len(rest) - len(comment)
        return text[:start] + new.ljust(column - 2) + "  " + comment + text[end + len(rest) :]
    return text[:start] + new + text[end:]


def _added(text: str, mapping: yaml.MappingNode, line: str) -> str:
    key, last = mapping.value[-1]
    if mapping.flow_style:
        end = last.end_mark.index
        return f"{text[:end]}, {line}{text[end:]}"
    end = max(last.end_mark.index, key.end_mark.index)
    end = len(text[:end].rstrip())
    newline = text.find("\n", end)
    end = len(text) if newline < 0 else newline
    return f"{text[:end]}\n{' ' * key.start_mark.column}{line}{text[end:]}"
