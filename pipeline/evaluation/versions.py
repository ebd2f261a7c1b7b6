"""The libraries whose versions may move a metric."""

import numpy as np
import torch

from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity


def library_versions() -> dict[str, str]:
    """Version by distribution name."""
    return {
        "torch": torch.__version__,
        "torch-fidelity": import_torch_fidelity("version").__version__,
        "numpy": np.__version__,
    }
