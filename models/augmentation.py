"""DiffAugment (Zhao et al. 2020): differentiable augmentation of all images that D sees.

For small data sets. Policies and strengths are those of the authors' release
(mit-han-lab/data-efficient-gans DiffAugment_pytorch.py): color, translation by up to an eighth of
the side, cutout of half of it.
"""

import torch

POLICIES = ("color", "translation", "cutout")
NUM_DRAWS = 7  # brightness, saturation, contrast; two shifts; two offsets

_TRANSLATION = 1 / 8
_CUTOUT = 1 / 2


def augment(x: torch.Tensor, draws: torch.Tensor, policies: tuple[str, ...]) -> torch.Tensor:
    """x (B, C, R, R) in [-1, 1], draws (B, 7) uniform in [0, 1) -> (B, C, R, R).

    Colours may leave [-1, 1], as in the release. Raises ValueError for an unknown policy.
    """
    unknown = set(policies) - set(POLICIES)
    if unknown:
        raise ValueError(f"unknown DiffAugment policies {sorted(unknown)}; there are {POLICIES}")
    if "color" in policies:
        x = _color(x, draws[:, :3])
    if "translation" in policies:
        x = _translation(x, draws[:, 3:5])
    if "cutout" in policies:
        x = _cutout(x, draws[:, 5:7])
    return x


def _color(x: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    brightness, saturation, contrast = draws.to(x)[:, :, None, None, None].unbind(1)  # (B, 1, 1, 1)
    x = x + (brightness - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (2 * saturation)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * (contrast + 0.5)


def _translation(x: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """By whole pixels; the border is filled with 0, mid-grey."""
    side = x.shape[2]
    reach = int(side * _TRANSLATION + 0.5)
    shift = (draws * (2 * reach + 1)).long() - reach  # (B, 2) in [-reach, reach]
    position = torch.arange(side, device=x.device) - shift[:, :, None]  # (B, 2, R)
    inside = ((position >= 0) & (position < side)).to(x.dtype)
    position = position.clamp(0, side - 1)
    image = torch.arange(len(x), device=x.device)[:, None, None]
    rows, columns = position[:, 0, :, None], position[:, 1, None, :]  # (B, R, 1), (B, 1, R)
    moved = x.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2)  # (B, C, R, R)
    return moved * (inside[:, None, 0, :, None] * inside[:, None, 1, None, :])


def _cutout(x: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """A square of half the side, whose centre may lie anywhere, becomes 0."""
    side = x.shape[2]
    size = int(side * _CUTOUT + 0.5)
    start = (draws * (side + 1 - size % 2)).long() - size // 2  # (B, 2)
    position = torch.arange(side, device=x.device)
    cut = (position >= start[:, :, None]) & (position < start[:, :, None] + size)  # (B, 2, R)
    keep = ~(cut[:, 0, :, None] & cut[:, 1, None, :])  # (B, R, R)
    return x * keep[:, None].to(x.dtype)
