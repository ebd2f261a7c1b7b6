"""Opens a snapshot as a generator that is ready to be sampled."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from models.configuration import GeneratorConfig
from models.generator import Generator
from models.latents import slerp, truncated_normal
from models.normalization import set_standing_statistics
from pipeline.core.errors import UserError
from pipeline.core.randomness import generator_at
from pipeline.training.snapshot import METADATA_KEY

_NUM_STANDING_BATCHES = 16
_STANDING_BATCH = 64


class SnapshotGenerator(Generator):
    """A generator in evaluation mode with the facts of its snapshot.

    `G(z, y)` maps latents (B, z_dim) float32 and labels (B,) int64, or weights of the classes
    (B, num_classes) float32, to images (B, C, R, R) float32 in [-1, 1]. `G.attention_maps(z, y)`
    returns images and maps.
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

    @property
    def name(self) -> str:
        """For people: whose weights, and how far trained."""
        weights = "EMA" if self.metadata["ema"] else "raw"
        return f"{weights} generator at {self.metadata['nimg']} images"

    @torch.no_grad()
    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """z (B, z_dim) float32, y labels or class weights -> (B, C, R, R) float32 in [-1, 1]."""
        self._check(z, y)
        return super().forward(z, y)

    def attention_maps(
        self, z: torch.Tensor, y: torch.Tensor
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        """See `Generator.attention_maps`."""
        self._check(z, y)
        return super().attention_maps(z, y)

    def latents(self, count: int, seed: int = 0, truncation: float | None = None) -> torch.Tensor:
        """Latents (count, z_dim) float32 of a seed, on the generator's device.

        With `truncation` every component stays within it: less variety, more typical images. See
        `truncated` for the batch statistics that belong to such latents.
        """
        draws = generator_at(seed, "latents")
        if truncation is None:
            z = torch.randn(count, self.z_dim, generator=draws)
        else:
            z = truncated_normal(count, self.z_dim, truncation, draws)
        return z.to(self._device)

    def truncated(self, truncation: float, seed: int = 0) -> "SnapshotGenerator":
        """A copy whose standing statistics are those of latents truncated there.

        Features of truncated latents vary less, so the statistics of all latents would wash their
        images out (Brock et al. 2019, appendix E). The labels are uniform.
        """
        G = copy.deepcopy(self)
        ghost = self.config.bn_statistics == "ghost"
        batch = self.config.bn_ghost_batch if ghost else _STANDING_BATCH
        labels = (torch.arange(batch) % self.num_classes).to(self._device)
        latents = self.latents(_NUM_STANDING_BATCHES * batch, seed, truncation)
        set_standing_statistics(G, ((z, labels) for z in latents.split(batch)))
        return G

    def interpolate_latents(
        self, start: torch.Tensor, end: torch.Tensor, label: int, num: int = 8
    ) -> torch.Tensor:
        """Images (num, C, R, R) of one class along the arc between two latents (z_dim,)."""
        z = slerp(start, end, num).to(self._device)
        return self(z, torch.full((num,), label, device=self._device))

    def interpolate_classes(
        self, z: torch.Tensor, start: int, end: int, num: int = 8
    ) -> torch.Tensor:
        """Images (num, C, R, R) of one latent (z_dim,) on the line between two classes' norms."""
        self._check(z[None], torch.tensor([start]))
        self._check(z[None], torch.tensor([end]))
        share = torch.linspace(0, 1, num)
        weights = torch.zeros(num, self.num_classes)
        weights[:, start] += 1 - share
        weights[:, end] += share
        return self(z.to(self._device).expand(num, -1), weights.to(self._device))

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device

    def _check(self, z: torch.Tensor, y: torch.Tensor) -> None:
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise ValueError(f"z has shape {tuple(z.shape)}; it should be (B, {self.z_dim})")
        if y.is_floating_point():
            if y.shape != (len(z), self.num_classes):
                expected = f"({len(z)}, {self.num_classes})"
                raise ValueError(f"class weights y have shape {tuple(y.shape)}, not {expected}")
            return
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
