"""The libraries whose versions may move a metric."""

from importlib.metadata import version

import numpy as np
import torch


def library_versions() -> dict[str, str]:
    """Version by distribution name."""
    return {
        "torch": torch.__version__,
        "torch-fidelity": version("torch-fidelity"),
        "numpy": np.__version__,
    }
