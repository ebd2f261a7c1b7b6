"""TorchScript files as functions of images."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.core.errors import UserError


def open_torchscript(path: Path, device: str) -> Callable[[torch.Tensor], Any]:
    """The module in a file, in evaluation mode; raises UserError for what is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
            module = torch.jit.load(str(path), map_location=device)
    except Exception as error:  # malformed bytes fail anywhere in torch's reader, in any way
        reason = " ".join(str(error).partition("\n")[0].split())
        raise UserError(
            f"reference.extractors: {path} is no TorchScript file ({reason[:200]}); write one with "
            "torch.jit.script(network).save(...), or name an .onnx file"
        ) from None
    module.eval()

    def run(images: torch.Tensor) -> Any:
        # Unoptimised, the first calls and the later ones give the same bits.
        with torch.jit.optimized_execution(False):
            return module(images)

    return run
