"""Reads `pipeline/reporting/paper.yaml`, the published numbers, and checks all of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from models.variants import VARIANTS
from pipeline.config.schema import Float, Section
from pipeline.reporting.published import (
    PublishedNumber,
    PublishedProtocol,
    PublishedRow,
    Read,
    Source,
)

PAPER_FILE = Path(__file__).resolve().with_name("paper.yaml")
METRICS = (
    "fid", "is_mean", "kid_mean", "intra_fid", "precision", "recall", "density", "coverage",
)  # fmt: skip

T = TypeVar("T", Source, PublishedProtocol)


class _Row(Section):
    table: str
    name: str
    variant: str | None = None
    updates: int | None = Field(None, ge=1)
    source: str
    protocol: str
    read: Read | dict[str, Read]
    fid: Float | None = None
    is_mean: Float | None = None
    kid_mean: Float | None = None
    intra_fid: Float | None = None
    precision: Float | None = None
    recall: Float | None = None
    density: Float | None = None
    coverage: Float | None = None


class _Paper(Section):
    sources: dict[str, dict[str, Any]]
    protocols: dict[str, dict[str, Any]]
    rows: list[_Row]


def read_published(path: Path = PAPER_FILE) -> tuple[PublishedRow, ...]:
    """All rows in the file's order; raises ValueError naming what is wrong with the file."""
    try:
        paper = _Paper.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        sources = {key: _checked(Source, content) for key, content in paper.sources.items()}
        protocols = {
            key: _checked(PublishedProtocol, content) for key, content in paper.protocols.items()
        }
        return tuple(_row(row, sources, protocols) for row in paper.rows)
    except (yaml.YAMLError, ValidationError, KeyError) as error:
        raise ValueError(f"{path}: {error}") from None


def _checked(kind: type[T], content: Mapping[str, Any]) -> T:
    """A dataclass of exactly these fields, their types checked."""
    unknown = content.keys() - kind.__dataclass_fields__.keys()
    if unknown:
        raise KeyError(f"{kind.__name__} has no {sorted(unknown)[0]!r}")
    return TypeAdapter(kind).validate_python(content)


def _row(
    row: _Row, sources: Mapping[str, Source], protocols: Mapping[str, PublishedProtocol]
) -> PublishedRow:
    values: dict[str, Any] = {name: getattr(row, name) for name in METRICS}
    values = {name: value for name, value in values.items() if value is not None}
    if row.variant is not None and row.variant not in VARIANTS:
        raise KeyError(f"{row.name}: there is no variant {row.variant!r}")
    if isinstance(row.read, dict) and row.read.keys() != values.keys():
        raise KeyError(f"{row.name}: `read` is of {sorted(row.read)}, numbers of {sorted(values)}")
    numbers = {
        name: PublishedNumber(
            value=value, read=row.read[name] if isinstance(row.read, dict) else row.read
        )
        for name, value in values.items()
    }
    return PublishedRow(
        table=row.table,
        name=row.name,
        variant=row.variant,
        updates=row.updates,
        source=sources[row.source],
        protocol=protocols[row.protocol],
        numbers=numbers,
    )
