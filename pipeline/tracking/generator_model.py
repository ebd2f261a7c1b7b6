"""The generator as a model of MLflow's registry; MLflow runs this file from a version's files.

Input: a table with the columns `label` (class name, or else class index) and `seed`. Output: uint8
images (N, H, W, C), C 1 or 3; each is a function of its row.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from pipeline.core.errors import UserError
from pipeline.core.images import to_uint8
from pipeline.training.generator import SnapshotGenerator, load_generator

_BATCH = 256


class GeneratorModel(PythonModel):
    """Samples from the version's snapshot."""

    def load_context(self, context: PythonModelContext) -> None:
        """Opens the snapshot."""
        self.G: SnapshotGenerator = load_generator(context.artifacts["generator"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """See the module; raises UserError for an unknown label."""
        y = torch.tensor([self._label(label) for label in model_input["label"]], dtype=torch.long)
        z = torch.stack([_latent(int(seed), self.G.z_dim) for seed in model_input["seed"]])
        images = [
            to_uint8(self.G(z[start : start + _BATCH], y[start : start + _BATCH]))
            for start in range(0, len(y), _BATCH)
        ]
        return torch.cat(images).permute(0, 2, 3, 1).contiguous().numpy()

    def _label(self, label: object) -> int:
        names = self.G.class_names
        if str(label) in names:
            return names.index(str(label))
        if str(label).isdecimal() and int(str(label)) < len(names):
            return int(str(label))
        raise UserError(f"label {label!r} is no class; classes are {', '.join(names)}")


def _latent(seed: int, z_dim: int) -> torch.Tensor:
    return torch.randn(z_dim, generator=torch.Generator().manual_seed(seed))


set_model(GeneratorModel())
