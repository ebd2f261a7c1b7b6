"""What ImageNet's synsets are called, from the files that are published with it."""

import io
import re
import tarfile
from collections import Counter

import numpy as np

from pipeline.core.errors import UserError
from pipeline.data.sources.files import Place

SYNSET = re.compile(r"n\d{8}", re.ASCII)
# `n01440764 tench, Tinca tinca` a line, from Kaggle and from Caffe.
_TEXTS = ("LOC_synset_mapping.txt", "synset_words.txt")
_META = "ILSVRC2012_devkit_t12/data/meta.mat"
_DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"


def find_words(place: Place) -> dict[str, str]:
    """A word for each synset, from the first file of `place` that says it; empty without one.

    It is the first of the synset's words, and where two synsets share it, with the synset behind:
    `crane (n02012849)`. Raises UserError for a file that is damaged.
    """
    for name in (*_TEXTS, _META, _DEVKIT):
        if place.has(name):
            try:
                return _words(name, place)
            except (ValueError, KeyError, tarfile.TarError, EOFError, OSError) as error:
                raise UserError(
                    f"data.path: {name} in {place.address} is no file of synsets' words ({error}); "
                    "fetch it anew or remove it"
                ) from None
    return {}


def _words(name: str, place: Place) -> dict[str, str]:
    path = place.path(name)
    if name in _TEXTS:
        return _from_text(path.read_text(encoding="utf-8"))
    if name == _META:
        return _from_meta(path.read_bytes())
    with tarfile.open(path) as archive:
        meta = archive.extractfile(_META)
        return _from_meta(meta.read() if meta is not None else b"")


def _from_text(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        synset, _, words = line.partition(" ")
        if SYNSET.fullmatch(synset) and words.strip():
            found[synset] = words.strip()
    if not found:
        raise ValueError("no line begins with a synset")
    return _distinct(found)


def _from_meta(content: bytes) -> dict[str, str]:
    # Here, not above: importing it takes a third of a second.
    from scipy.io import loadmat

    try:
        rows = np.ravel(loadmat(io.BytesIO(content), squeeze_me=True)["synsets"])
        found = {str(row["WNID"]): str(row["words"]) for row in rows}
    except (TypeError, IndexError, NotImplementedError) as error:
        raise ValueError(str(error)) from None
    return _distinct({synset: words for synset, words in found.items() if words})


def _distinct(words: dict[str, str]) -> dict[str, str]:
    firsts = {synset: text.split(",")[0].strip() for synset, text in words.items()}
    uses = Counter(firsts.values())
    return {s: first if uses[first] == 1 else f"{first} ({s})" for s, first in firsts.items()}
