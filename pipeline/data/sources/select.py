"""Picks the source that a configuration names."""

from pipeline.data.sources.digits import open_digits
from pipeline.data.sources.image_folder import open_image_folder
from pipeline.data.sources.source import Source
from pipeline.errors import UserError


def open_source(kind: str, path: str | None, resolution: int, channels: int) -> Source:
    """The source `digits`, or `folder` at `path`; images uint8 [resolution, resolution, channels].

    Raises UserError naming data.path when the images are not there.
    """
    if kind == "digits":
        return open_digits(resolution, channels)
    if kind == "folder":
        if path is None:
            raise UserError("data.path is missing; source: folder needs the images' folder there")
        return open_image_folder(path, resolution, channels)
    raise UserError(f"data.source = {kind!r} is no known source; choose digits or folder")
