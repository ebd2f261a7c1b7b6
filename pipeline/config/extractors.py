"""The names of extractors: those that have one here, and those that one's own files get."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from pipeline.core.nearest import nearest_name

DATASET_CNN = "dataset-cnn"
INCEPTION = "inception-v3-compat"
EFFICIENTNET = "efficientnet-lite0"
VGG16 = "vgg16"
CLIP = (
    "clip-rn50",
    "clip-rn101",
    "clip-rn50x4",
    "clip-rn50x16",
    "clip-rn50x64",
    "clip-vit-b-32",
    "clip-vit-b-16",
    "clip-vit-l-14",
    "clip-vit-l-14-336px",
)
DINOV2 = ("dinov2-vit-s-14", "dinov2-vit-b-14", "dinov2-vit-l-14", "dinov2-vit-g-14")
PUBLISHED = (INCEPTION, EFFICIENTNET, VGG16, *CLIP, *DINOV2)
"""Networks whose weights others publish."""
BF16 = "-bf16"
"""After the name of a published network: the same weights, computed in bfloat16."""
FILE_SUFFIXES = (".pt", ".pth", ".ts", ".onnx")
"""Of one's own extractors: TorchScript, and ONNX."""

_NAMED = (DATASET_CNN, *PUBLISHED, *(name + BF16 for name in PUBLISHED))
_TAKEN = re.compile(r"raw|.*-raw|.*-ci95-(low|high)|.*-unofficial")  # they end metric keys


def is_file(extractor: str) -> bool:
    """Whether this is the path, or s3:// address, of one's own network and no name."""
    return extractor.lower().endswith(FILE_SUFFIXES)


def extractor_name(extractor: str) -> str:
    """The name itself, or that of a file: lower-case letters, digits and hyphens of its stem."""
    if not is_file(extractor):
        return extractor
    stem = PurePosixPath(extractor).stem.lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")


def network_of(name: str) -> str:
    """The name without its precision."""
    return name.removesuffix(BF16) if name in _NAMED else name


def check_extractors(extractors: Sequence[str]) -> None:
    """Raises ValueError for a name that there is not, and for two that would share one."""
    for extractor in extractors:
        name = extractor_name(extractor)
        if not is_file(extractor):
            if extractor not in _NAMED:
                raise ValueError(_unknown(extractor))
        elif not name or name in _NAMED or _TAKEN.fullmatch(name):
            raise ValueError(
                f"the extractor {extractor!r} would be called {name!r}, which its metrics' keys "
                "cannot tell from others; rename the file"
            )
    names = [extractor_name(extractor) for extractor in extractors]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"two extractors are called {twice[0]!r}; leave one out or rename its file"
        )


def check_weights(weights: Mapping[str, str]) -> None:
    """Raises ValueError for weights of what has none of its own, or has a key of its own."""
    takers = tuple(name for name in PUBLISHED if name not in (INCEPTION, *DINOV2))
    for name in weights:
        if name == INCEPTION:
            raise ValueError(f"those of {INCEPTION} belong at `reference.inception_weights`")
        if name in DINOV2:
            raise ValueError(
                f"torch-fidelity loads {name} through torch.hub, which "
                "takes no file; leave it out, or name a TorchScript file of the network itself "
                "among reference.extractors"
            )
        if name not in takers:
            nearest = nearest_name(name, takers)
            known = f"the nearest name is {nearest!r}" if nearest else ", ".join(takers)
            raise ValueError(f"{name!r} takes no weights; {known}")


def _unknown(extractor: str) -> str:
    nearest = nearest_name(extractor, _NAMED)
    if nearest:
        return f"there is no extractor {extractor!r}; the nearest is {nearest!r}"
    return (
        f"there is no extractor {extractor!r}; there are {', '.join((DATASET_CNN, *PUBLISHED))}, "
        f"all but the first also with {BF16} after the name, and one's own "
        f"{', '.join(FILE_SUFFIXES)} files by their path"
    )
