"""Measures speed and accuracy of preprocessing: `python -m benchmarks.ingest [--json]`.

Files like ImageNet's (500x375 and 375x500 pixels, quality 92, about 55 kB) become 128x128 on one
core. Speed is by processor time, so that other work on the machine does not count. Quality is the
distance to the same pixels resized in floating point and rounded once.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

from pipeline.data.ingest.preprocessing import Preprocessing, decode
from pipeline.data.ingest.shard_task import ShardTask, make_shard
from pipeline.data.sources.image_folder import open_image_folder

RESOLUTION = 128
_PREPROCESSING = Preprocessing(resolution=RESOLUTION, channels=3)

Pixels = npt.NDArray[np.uint8]


def make_photograph(seed: int) -> bytes:
    """A JPEG file with the spectrum of a photograph: structure of all sizes, and noise."""
    random = np.random.default_rng(seed)
    width, height = (500, 375) if seed % 2 else (375, 500)
    pixels = np.zeros((height, width, 3), np.float32)
    for size in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        shape = (max(2, height // size), max(2, width // size))
        shared = random.normal(size=shape)  # brightness varies more than colour
        for channel in range(3):
            coarse = (shared + 0.35 * random.normal(size=shape)).astype(np.float32)
            smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
            pixels[..., channel] += np.asarray(smooth) * size**0.53
    pixels = (pixels - pixels.mean()) / pixels.std() * 60 + 115
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def ours(content: bytes) -> Pixels:
    """As the shard stage does."""
    return decode(content, _PREPROCESSING, "")[0]


def pillow(content: bytes) -> Pixels:
    """Open, convert, resize the centre square; nothing else is done, not even EXIF."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    return _pillow_square(image)


def pillow_scaled(content: bytes) -> Pixels:
    """The same after decoding at a reduced scale: what speed costs in quality."""
    image = Image.open(io.BytesIO(content))
    image.draft("RGB", (RESOLUTION, RESOLUTION))
    return _pillow_square(image.convert("RGB"))


def exact(content: bytes) -> npt.NDArray[np.float64]:
    """All pixels decoded, resized in floating point, rounded once."""
    image = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    height, width, _ = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(image[top : top + side, left : left + side].copy()).double()
    square = square.permute(2, 0, 1)[None]
    resized = F.interpolate(
        square, (RESOLUTION, RESOLUTION), mode="bicubic", antialias=True, align_corners=False
    )
    return resized[0].permute(1, 2, 0).round().clamp(0, 255).numpy()


def measure(files: list[bytes], repeats: int) -> dict[str, float]:
    """Medians over the repeats, in each of which all ways take their turn."""
    ways: dict[str, Callable[[bytes], Pixels]] = {
        "ours": ours, "pillow": pillow, "pillow_scaled": pillow_scaled
    }  # fmt: skip
    rates: dict[str, list[float]] = {name: [] for name in (*ways, "shard")}
    with tempfile.TemporaryDirectory() as folder:
        task = _task(files, Path(folder))
        for repeat in range(repeats + 1):
            for name, way in ways.items():
                rate = _rate(lambda way=way: [way(file) for file in files], len(files))  # type: ignore[misc]
                rates[name] += [rate] if repeat else []
            task.done_marker.unlink(missing_ok=True)
            rate = _rate(lambda: make_shard(task), len(files))
            rates["shard"] += [rate] if repeat else []
    result = {f"{name}_images_per_s_core": statistics.median(r) for name, r in rates.items()}
    result["ours_vs_pillow"] = statistics.median(
        a / b for a, b in zip(rates["ours"], rates["pillow"], strict=True)
    )
    truths = [exact(file) for file in files]
    for name, way in ways.items():
        errors = np.stack([way(f) - t for f, t in zip(files, truths, strict=True)])
        squares = (errors**2).mean(axis=(1, 2, 3))
        result[f"{name}_mean_levels"] = float(np.abs(errors).mean())
        result[f"{name}_psnr_db"] = float(np.mean(10 * np.log10(255**2 / squares)))
        result[f"{name}_worst_psnr_db"] = float(10 * np.log10(255**2 / squares.max()))
    result["mean_file_bytes"] = float(np.mean([len(file) for file in files]))
    return result


def _task(files: list[bytes], folder: Path) -> ShardTask:
    (folder / "photos" / "all").mkdir(parents=True)
    for number, file in enumerate(files):
        (folder / "photos" / "all" / f"{number:05}.jpg").write_bytes(file)
    source = open_image_folder(folder / "photos")
    return ShardTask(
        split="train",
        path=folder / "train-00000.arrow",
        done_marker=folder / "train-00000.json",
        items=source.items,
        read=source.read,
        origin=source.origin,
        preprocessing=_PREPROCESSING,
        num_classes=1,
    )


def _pillow_square(image: Image.Image) -> Pixels:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    return np.asarray(image.resize((RESOLUTION, RESOLUTION), Image.Resampling.BICUBIC))


def _rate(call: Callable[[], object], count: int) -> float:
    started = time.process_time()
    call()
    return count / (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100, help="different files")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; medians are shown")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    files = [make_photograph(seed) for seed in range(arguments.images)]
    result = measure(files, arguments.repeats)
    print(
        f"{len(files)} files of {result['mean_file_bytes'] / 1e3:.0f} kB on average to "
        f"{RESOLUTION}x{RESOLUTION}, one core, medians of {arguments.repeats} rounds"
    )
    print(f"  {'':<38} images/s  PSNR dB (worst)  mean levels off")
    for name, what in (
        ("ours", "the shard stage's `decode` (ours)"),
        ("pillow", "Pillow open, convert, resize"),
        ("pillow_scaled", "Pillow, decoded at a reduced scale"),
    ):
        print(
            f"  {what:<38} {result[f'{name}_images_per_s_core']:8.0f}  "
            f"{result[f'{name}_psnr_db']:7.1f} ({result[f'{name}_worst_psnr_db']:.1f})  "
            f"{result[f'{name}_mean_levels']:11.2f}"
        )
    print(
        f"  {'files to a shard with all checks (ours)':<38}{result['shard_images_per_s_core']:8.0f}"
    )
    print(f"  ours vs Pillow                         {result['ours_vs_pillow']:.2f}x")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
