"""Opens a snapshot as a generator that is ready to be sampled."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from models.configuration import GeneratorConfig
from models.generator import Generator
from pipeline.errors import UserError
from pipeline.training.snapshot import METADATA_KEY


class SnapshotGenerator(Generator):
    """A generator in evaluation mode with the facts of its snapshot.

    `G(z, y)` maps latents (B, z_dim) float32 and labels (B,) int64 to images (B, C, R, R) float32
    in [-1, 1]; `G.attention_maps(z, y)` returns images and maps.
    """

    def __init__(self, config: GeneratorConfig, metadata: dict[str, Any]) -> None:
        super().__init__(config)
        self.metadata = metadata
        """nimg, ema (True for averaged weights), run_key, dataset_digest, class_names."""
        self.class_names: tuple[str, ...] = tuple(metadata["class_names"])
        self.num_classes = config.num_classes
        self.z_dim = config.z_dim
        self.resolution = config.resolution
        self.image_channels = config.image_channels

    @torch.no_grad()
    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """z (B, z_dim) float32, y (B,) int64 -> images (B, C, R, R) float32 in [-1, 1]."""
        self._check(z, y)
        return super().forward(z, y)

    def attention_maps(
        self, z: torch.Tensor, y: torch.Tensor
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        """See `Generator.attention_maps`."""
        self._check(z, y)
        return super().attention_maps(z, y)

    def _check(self, z: torch.Tensor, y: torch.Tensor) -> None:
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise ValueError(f"z has shape {tuple(z.shape)}; it should be (B, {self.z_dim})")
        if y.shape != z.shape[:1]:
            raise ValueError(f"y has shape {tuple(y.shape)}; it should be ({len(z)},)")
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) < self.num_classes:
            raise ValueError(f"labels in y should be in 0..{self.num_classes - 1}")


def load_generator(path: str | Path, device: str = "cpu") -> SnapshotGenerator:
    """Opens a `.safetensors` snapshot; raises UserError for a file that is not one of ours."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist; `dvc repro train` exports generator.safetensors")
    try:
        with safe_open(path, framework="pt", device=device) as file:
            description = (file.metadata() or {}).get(METADATA_KEY)
            if description is None:
                raise UserError(f"{path} is not a generator snapshot: no {METADATA_KEY} in it")
            metadata = json.loads(description)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = metadata.pop("config")
        G = SnapshotGenerator(
            GeneratorConfig(**{**config, "attention": tuple(config["attention"])}), metadata
        )
        G.load_state_dict(tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not an intact generator snapshot: {reason}") from None
    G.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return G.requires_grad_(False).eval()
