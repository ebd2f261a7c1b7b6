"""Images that could not be used."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import UserError

_MAX_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """One of them."""

    key: str
    reason: str


def check_rejected(
    rejected: Sequence[Rejected], num_items: int, max_fraction: float, path: Path
) -> None:
    """Raises UserError with the head of the list at `path` when more than the fraction are in it.

    It is raised, whatever the fraction, when no image is left.
    """
    if num_items and len(rejected) <= max_fraction * num_items and len(rejected) < num_items:
        return
    if num_items == 0:
        raise UserError("the source has no images; see data.path, data.classes and data.limit")
    head = "; ".join(f"{r.key} ({r.reason})" for r in rejected[:_MAX_NAMED])
    raise UserError(
        f"{len(rejected)} of {num_items} images cannot be used, more than "
        f"data.max_rejected_fraction = {max_fraction:g} allows; {path} lists them: {head}"
        f"{'; ...' if len(rejected) > _MAX_NAMED else ''}"
    )
