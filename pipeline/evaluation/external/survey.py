"""What a set of images is like, found out before any of it is scored."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.errors import UserError
from pipeline.data.ingest.data_checks import Rejected
from pipeline.data.ingest.preprocessing import UndecodableError, pillow_warnings, read_header
from pipeline.data.sources.source import Unreadable
from pipeline.evaluation.external.origin import Label, Origin

MAX_REJECTED = 0.01
"""Share of images that may be unusable, as in the ingest's default."""
_MAX_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """Counts over all images of an origin."""

    count: int
    """Images whose header can be read."""
    sizes: Mapping[tuple[int, int], int]
    """Images of each (width, height), the most frequent first."""
    modes: Mapping[str, int]
    """Images of each of Pillow's modes, the most frequent first."""
    labels: frozenset[Label]
    """All that occur."""
    rejected: Sequence[Rejected]
    """The others."""


def survey(origin: Origin) -> Survey:
    """Looks at every image's header; raises UserError for too few usable images."""
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    labels: set[Label] = set()
    rejected: list[Rejected] = []
    with pillow_warnings():
        for found in origin.read():
            try:
                if isinstance(found.raw, Unreadable):
                    raise UndecodableError(found.raw.reason)
                seen = read_header(found.raw)
            except UndecodableError as error:
                rejected.append(Rejected(key=found.key, reason=str(error)))
                continue
            sizes[seen.width, seen.height] += 1
            modes[seen.mode] += 1
            labels.add(found.label)
    count = sum(sizes.values())
    check_usable(origin.path, rejected, count)
    return Survey(
        count=count,
        sizes=dict(sizes.most_common()),
        modes=dict(modes.most_common()),
        labels=frozenset(labels),
        rejected=rejected,
    )


def check_usable(path: str, rejected: Sequence[Rejected], num_usable: int) -> None:
    """Raises UserError where more than `MAX_REJECTED` are unusable, or fewer than 2 usable."""
    total = num_usable + len(rejected)
    if len(rejected) > MAX_REJECTED * total:
        head = "; ".join(f"{r.key} ({r.reason})" for r in rejected[:_MAX_NAMED])
        more = "; ..." if len(rejected) > _MAX_NAMED else ""
        raise UserError(
            f"{path}: {len(rejected)} of {total} images cannot be used, more than "
            f"{MAX_REJECTED:.0%}; mend or remove them: {head}{more}"
        )
    if num_usable < 2:
        raise UserError(
            f"{path} holds {num_usable} image{'s' * (num_usable != 1)}; metrics need 2 or more"
        )


def one_size(surveys: Mapping[str, Survey], asked: int | None, real_side: int | None) -> int:
    """The side of the squares that all images of the surveys, by path, become.

    `asked` resizes whatever comes; without it all must be squares of one side, that of the real
    side where it is given. Raises UserError with the counts of the sizes and the cure.
    """
    if asked is not None:
        if real_side is not None and asked != real_side:
            raise UserError(
                f"--resize {asked} differs from the data set's {real_side}x{real_side}; both sides "
                f"of a metric need one size: --resize {real_side}"
            )
        return asked
    sizes: Counter[tuple[int, int]] = Counter()
    for seen in surveys.values():
        sizes.update(seen.sizes)
    (width, height), _ = sizes.most_common(1)[0]
    where = " and ".join(surveys)
    target = real_side or min(min(size) for size in sizes)
    if len(sizes) > 1:
        raise UserError(
            f"{where}: images of {len(sizes)} sizes ({_listed(sizes)}) cannot be compared as one "
            f"set; --resize {target} makes them one"
        )
    if width != height:
        raise UserError(
            f"{where}: all images are {width}x{height}, not squares; --resize {target} takes the "
            "middle square of each and resizes it"
        )
    if real_side is not None and width != real_side:
        raise UserError(
            f"{where}: all images are {width}x{height}, the data set's {real_side}x{real_side}; "
            f"both sides of a metric need one size: --resize {real_side} crops and resizes "
            "these as the data set's were"
        )
    return width


def _listed(sizes: Counter[tuple[int, int]]) -> str:
    shown = ", ".join(f"{n} of {w}x{h}" for (w, h), n in sizes.most_common(_MAX_NAMED))
    return shown + (", ..." if len(sizes) > _MAX_NAMED else "")
