"""Which of a source's archives hold images to train on."""

import re
from collections.abc import Sequence

from pipeline.core.errors import UserError
from pipeline.data.sources.files import Entry, Listing

# `train-00000-of-00005.parquet`, `train/0001.tar`, `imagenet-train-000000.tar`
_TRAIN = re.compile(r"(^|[/_.-])train(ing)?([/_.-]|$)", re.IGNORECASE)


def training_files(
    listing: Listing, path: str, suffix: str, expected: str
) -> tuple[tuple[Entry, ...], str]:
    """The files with `suffix` whose names say train, or all where none does; and a note.

    Raises UserError where there is none.
    """
    found = [e for e in listing.entries if e.name.lower().endswith(suffix)]
    if not found:
        names = ", ".join(_heads(listing)) or "nothing"
        raise UserError(f"data.path: {path} holds {names} and no {suffix} file; {expected}")
    chosen = [entry for entry in found if _TRAIN.search(entry.name)] or found
    left = len(found) - len(chosen)
    return tuple(chosen), f"passed over: {left} {suffix} files of other splits" if left else ""


def _heads(listing: Listing) -> Sequence[str]:
    files = [entry.name for entry in listing.entries if "/" not in entry.name]
    return [*(f"{folder}/" for folder in listing.folders), *files][:5]
