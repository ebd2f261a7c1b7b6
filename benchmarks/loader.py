"""Measures the rate of training batches from disk: `python -m benchmarks.loader [--json]`.

Against `numpy.take` from one mapped file of pixels, against a plain copy, and against MosaicML
streaming and WebDataset where they are installed (`uv pip install -e .[bench]`). All in one run, in
turn, medians. The files are in the page cache except where it says cold.
"""

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.loader_data import drop_from_page_cache, write_raw, write_shards
from benchmarks.loader_peers import PeerBatches, find_peers
from pipeline.data.loading.batches import Batches
from pipeline.data.loading.order import GlobalOrder
from pipeline.data.shards.reader import Rows, open_dataset

_NUM_IMAGES = {128: 8000, 32: 64000}
_NUM_SHARDS = 1000
_NUM_COLD_SHARDS = 8  # of about the size that the shard stage makes
_NUM_COLD = 640  # images of a cold random gather, which would take minutes for all
_NUM_EPOCHS = 4  # of prefetched batches
_NUM_PEER = 4000  # images of a peer's epoch
_SEED = 0

_WORST = {
    "gather_vs_memmap": min,
    "prefetched_vs_memmap": min,
    "prefetched_vs_best_peer": min,
    "cold_staged_vs_cold_random": min,
    "start_up_s": max,
}


class Rates:
    """Images a second of each way, measured in turn."""

    def __init__(self) -> None:
        self._rates: dict[str, list[float]] = {}

    def add(self, name: str, rate: float) -> None:
        """Adds one measurement."""
        self._rates.setdefault(name, []).append(rate)

    def __getitem__(self, name: str) -> float:
        return statistics.median(self._rates[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._rates)


def rate_of(num_images: int, work: Callable[[], object]) -> float:
    """Images a second of `work`, which handles so many."""
    started = time.perf_counter()
    work()
    return num_images / (time.perf_counter() - started)


def measure_warm(folder: Path, resolution: int, batch: int, repeats: int, rates: Rates) -> None:
    """Each way in turn, peers included, after one round that is not counted."""
    num_images = _NUM_IMAGES[resolution] // batch * batch
    raw = write_raw(folder / "raw", num_images, resolution)
    write_shards(folder / "one", raw, 1)
    write_shards(folder / "many", raw, _NUM_SHARDS)
    one, many = (open_dataset(folder / name).train for name in ("one", "many"))
    order = GlobalOrder(_SEED, num_images)
    rows = order.rows_at(0, num_images).reshape(-1, batch)
    out = np.empty((batch, resolution, resolution, 3), np.uint8)

    def copy() -> None:
        for start in range(0, num_images, batch):
            np.copyto(out, raw[start : start + batch])

    def take() -> None:
        for part in rows:
            # The default mode fills a buffer first, and is slower.
            np.take(raw, part, axis=0, out=out, mode="clip")

    def gather(source: Rows) -> None:
        for part in rows:
            source.gather(part, out=out)

    def consume(batches: Batches, count: int) -> None:
        for _ in range(count):
            batches.next_batch()

    def prefetch() -> float:
        with Batches(many, order, batch, 0) as batches:
            batches.next_batch()
            count = _NUM_EPOCHS * len(rows)
            return rate_of(count * batch, lambda: consume(batches, count))

    ways: dict[str, Callable[[], float]] = {
        "memcpy, in order": lambda: rate_of(num_images, copy),
        "numpy.take from a raw memmap": lambda: rate_of(num_images, take),
        "gather, 1 shard": lambda: rate_of(num_images, lambda: gather(one)),
        f"gather, {_NUM_SHARDS} shards": lambda: rate_of(num_images, lambda: gather(many)),
        f"prefetched batches, {_NUM_SHARDS} shards": prefetch,
        **peer_ways(folder, resolution, batch),
    }
    for round_number in range(repeats + 1):
        for name, way in ways.items():
            rate = way()
            if round_number > 0:
                rates.add(name, rate)


def peer_ways(folder: Path, resolution: int, batch: int) -> dict[str, Callable[[], float]]:
    """An epoch of each peer, without the start of its workers."""

    def rate(epoch: Callable[[], PeerBatches]) -> float:
        batches = epoch()
        num_left = _NUM_PEER - len(next(batches)[1])
        return rate_of(num_left, lambda: deque(batches, maxlen=0))

    return {
        f"{name}, {setting}": lambda epoch=epoch: rate(epoch)
        for name, open_peer in find_peers().items()
        for setting, epoch in open_peer(
            folder / name.split()[0], _NUM_PEER, resolution, batch
        ).items()
    }


def measure_cold(folder: Path, resolution: int, batch: int, repeats: int, rates: Rates) -> None:
    """Few shards from disk: some rows at random, and all rows of prefetched shards."""
    raw = np.memmap(folder / "raw", np.uint8, "r").reshape(-1, resolution, resolution, 3)
    write_shards(folder / "few", raw, _NUM_COLD_SHARDS)
    order = GlobalOrder(_SEED, len(raw))

    def gather(count: int, staged: bool) -> None:
        train = open_dataset(folder / "few", verify="size").train
        rows = order.rows_at(0, count)
        if staged:
            train.prefetch(rows)
        for start in range(0, count, batch):
            train.gather(rows[start : start + batch])
        train.stop()

    for _ in range(repeats):
        for name, count in (("cold, at random", _NUM_COLD), ("cold, staged first", len(raw))):
            gc.collect()  # mapped files stay in memory
            drop_from_page_cache(folder / "few")
            rates.add(name, rate_of(count, lambda n=count, s="staged" in name: gather(n, s)))


def start_up_s(folder: Path, repeats: int) -> float:
    """Seconds to open a thousand shards that were hashed before."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        open_dataset(folder / "many")
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def summarize(rates: Rates, start_s: float) -> dict[str, float | None]:
    """Ratios of the medians."""
    raw = rates["numpy.take from a raw memmap"]
    prefetched = rates[f"prefetched batches, {_NUM_SHARDS} shards"]
    peers = [rates[name] for name in rates if name.startswith(("MosaicML", "WebDataset"))]
    return {
        "gather_vs_memmap": min(rates[name] for name in rates if name.startswith("gather")) / raw,
        "prefetched_vs_memmap": prefetched / raw,
        "prefetched_vs_best_peer": prefetched / max(peers) if peers else None,
        "cold_staged_vs_cold_random": rates["cold, staged first"] / rates["cold, at random"],
        "start_up_s": start_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64, help="images in a batch")
    parser.add_argument("--repeats", type=int, default=7, help="rounds; medians are shown")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to read from")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    arguments = parser.parse_args()

    results = {}
    for resolution in _NUM_IMAGES:
        rates = Rates()
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            folder = Path(name)
            measure_warm(folder, resolution, arguments.batch, arguments.repeats, rates)
            measure_cold(folder, resolution, arguments.batch, arguments.repeats, rates)
            start_s = start_up_s(folder, arguments.repeats)
        results[resolution] = summarize(rates, start_s)
        print(f"{resolution}x{resolution}, batches of {arguments.batch}")
        for way in rates:
            megabytes = rates[way] * resolution**2 * 3 / 1e6
            print(f"  {way:<34} {rates[way]:11.0f} images/s {megabytes:9.0f} MB/s")
        for key, value in results[resolution].items():
            print(f"  {key.replace('_', ' '):<34} {'absent' if value is None else f'{value:.3g}'}")
    if arguments.json:
        worst = {
            key: None if None in (parts := [r[key] for r in results.values()]) else pick(parts)
            for key, pick in _WORST.items()
        }
        print(json.dumps({**worst, "by_resolution": results}))


if __name__ == "__main__":
    main()
