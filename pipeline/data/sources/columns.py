"""Which columns of an Arrow schema may hold images or labels."""

import json
from typing import Any

import pyarrow as pa

LABEL_NAMES = ("label", "labels", "fine_label", "class", "cls", "target")
"""What columns of labels are usually called."""


def holds_files(kind: pa.DataType) -> bool:
    """Whether a column holds files' bytes, plain or as the hub's `{bytes, path}`."""
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and is_binary(kind.field(index).type)
    return is_binary(kind)


def is_binary(kind: pa.DataType) -> bool:
    """Whether values are bytes of any length."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists of whatever form."""
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def is_label(kind: pa.DataType) -> bool:
    """Whether values are numbers or texts that may be labels."""
    return pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def label_names(schema: pa.Schema, column: str) -> list[str] | None:
    """The names of the hub's ClassLabel, in the schema's metadata; None where there are none."""
    try:
        content: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = content["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    valid = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if valid and names else None
