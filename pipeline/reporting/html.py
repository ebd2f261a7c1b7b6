"""Self-contained HTML pages: templates, and images and data inside them."""

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One PNG in a page."""

    uri: str
    """`data:` address that holds the file."""
    width: int
    """Pixels."""
    height: int
    alt: str
    """What it shows, in words."""


def picture(image: Image.Image, alt: str) -> Picture:
    """Encodes an image without loss."""
    return Picture(uri=data_uri(image), width=image.width, height=image.height, alt=alt)


def data_uri(image: Image.Image) -> str:
    """An image as a PNG inside an address."""
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def script_data(content: Any) -> Markup:
    """JSON for a script element, in which no entity is decoded and only `<` could end it."""
    return Markup(json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"))


def asset(name: str) -> Markup:
    """A style sheet or script of this package, for a page."""
    return Markup((FOLDER / name).read_text(encoding="utf-8"))


def render(template: str, **values: Any) -> str:
    """A page from a template of this package; every string in `values` is escaped."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = asset
    environment.filters["breakable"] = _breakable
    return environment.get_template(template).render(**values)


def _breakable(name: str) -> Markup:
    return escape(name).replace("_", Markup("_<wbr>"))
