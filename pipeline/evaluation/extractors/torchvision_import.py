"""torch-fidelity, imported also where torchvision's compiled half does not fit the torch at hand.

torchvision from PyPI is built against a CUDA torch. Beside a CPU torch its library does not load,
and its import then ends at the first operator of that library which it refers to. Nothing here
calls these operators: it suffices that their schemas exist.
"""

import importlib
import sys
from importlib.metadata import version
from typing import Any

import torch

TORCH_FIDELITY_VERSION = version("torch-fidelity")
SHUFFLE_SEED = 2020
"""torch-fidelity's own default: of the shuffle before IS splits and of KID's subsets."""

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# A library takes its schemas with it when it is collected.
_libraries: list[torch.library.Library] = []


def import_torchvision() -> None:
    """Imports torchvision; defines its missing operators only after the plain import has failed."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        # Defined any earlier, they would keep a fitting library from being loaded.
        if "operator torchvision::nms does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for schema in _SCHEMAS:
            library.define(schema)
        _libraries.append(library)
        importlib.import_module("torchvision")


def import_torch_fidelity(module: str) -> Any:
    """The module of this name within torch_fidelity; "" is the package itself."""
    import_torchvision()
    return importlib.import_module(f"torch_fidelity.{module}" if module else "torch_fidelity")
