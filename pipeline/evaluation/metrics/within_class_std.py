"""Within-class standard deviation of coarse pixels: how much the images of one class differ."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

GRID = 8
"""Images are averaged to 8x8 areas, which keeps shape and drops noise."""

WITHIN_CLASS_STD_FORMULA = (
    "standard deviation (of N - 1) of 8x8 area-averaged pixels over the images of a class, mean "
    "over pixels and classes, of generated over real training images"
)


class ClassPixelStd:
    """Standard deviation within each class of 8x8 area-averaged pixels, accumulated by batch."""

    def __init__(self, num_classes: int) -> None:
        self._counts = torch.zeros(num_classes, dtype=torch.float64)
        self._sums: torch.Tensor | None = None  # [classes, pixels], as are the squares
        self._squares: torch.Tensor | None = None

    def add(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Adds images uint8 (B, C, R, R), R a multiple of 8, with labels int64 (B,)."""
        pixels = F.adaptive_avg_pool2d(images.cpu().double(), GRID).flatten(1)  # (B, C 8 8)
        labels = labels.cpu()
        if self._sums is None or self._squares is None:
            self._sums = torch.zeros(len(self._counts), pixels.shape[1], dtype=torch.float64)
            self._squares = torch.zeros_like(self._sums)
        self._counts.index_add_(0, labels, torch.ones(len(labels), dtype=torch.float64))
        self._sums.index_add_(0, labels, pixels)
        self._squares.index_add_(0, labels, pixels.square())

    def merge(self, other: "ClassPixelStd") -> None:
        """Adds the images of `other`; the sums are exact, so the order does not matter."""
        if other._sums is None or other._squares is None:
            return
        self._counts += other._counts
        if self._sums is None or self._squares is None:
            self._sums, self._squares = other._sums.clone(), other._squares.clone()
        else:
            self._sums += other._sums
            self._squares += other._squares

    def by_class(self) -> npt.NDArray[np.float64]:
        """[classes]: the mean over pixels of the standard deviation (of N - 1), in 0..255.

        NaN for a class with fewer than 2 images.
        """
        if self._sums is None or self._squares is None:
            return np.full(len(self._counts), np.nan)
        counts = self._counts[:, None]
        # 0..255 in float64: the difference of the squares loses nothing that matters.
        scatter = (self._squares - self._sums.square() / counts).clamp(min=0)
        deviations = (scatter / (counts - 1)).sqrt().mean(dim=1)
        deviations[self._counts < 2] = torch.nan
        return deviations.numpy()


def within_class_std_ratio(
    generated: npt.NDArray[np.float64], real: npt.NDArray[np.float64]
) -> float | None:
    """Mean over the classes of generated images over that of real ones.

    Both [classes], from `ClassPixelStd.by_class`; only classes that have both count. None where
    none has.
    """
    both = np.isfinite(generated) & np.isfinite(real)
    if not both.any() or real[both].mean() == 0:
        return None
    return float(generated[both].mean() / real[both].mean())
