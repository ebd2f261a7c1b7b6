"""Image files in a folder, flat, one folder a class or nested."""

from collections import Counter
from collections.abc import Iterator

from pipeline.data.sources.files import Entry, Listing
from pipeline.data.sources.image_folder import is_image
from pipeline.evaluation.external.origin import Found, Origin


def folder_origin(path: str, listing: Listing) -> Origin:
    """The files with an image's name, in the order of their names; the others are passed over."""
    entries = [entry for entry in listing.entries if is_image(entry.name)]
    others = len(listing.entries) - len(entries)

    def read() -> Iterator[Found]:
        names = [entry.name for entry in entries]
        for name, raw in zip(names, listing.directory.read(names), strict=True):
            yield Found(name, raw, tuple(name.split("/")[:-1]))

    return Origin(
        path=path,
        layout=f"image files {_depths(entries)}",
        read=read,
        note=f"passed over: {others} files without an image's name" if others else "",
    )


def _depths(entries: list[Entry]) -> str:
    counts = Counter(entry.name.count("/") for entry in entries)
    if len(counts) == 1:
        return _below(*counts)
    return ", ".join(f"{count} {_below(depth)}" for depth, count in sorted(counts.items()))


def _below(depth: int) -> str:
    if depth == 0:
        return "directly in the folder"
    return "one folder down" if depth == 1 else f"{depth} folders down"
