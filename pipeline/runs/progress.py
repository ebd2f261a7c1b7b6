"""Progress of a run on stderr: a bar on a terminal, plain lines elsewhere."""

import sys
from typing import TextIO

from tqdm import tqdm


class Progress:
    """Shows kimg, images a second, losses and the time left on `stream` (stderr by default)."""

    def __init__(self, nimg: int, total_nimg: int, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._start_nimg = nimg
        self._total_nimg = total_nimg
        self._bar: tqdm | None = None
        if self._stream.isatty():
            self._bar = tqdm(
                total=total_nimg / 1000,
                initial=nimg / 1000,
                unit="kimg",
                file=self._stream,
                bar_format="{percentage:3.0f}% |{bar}| {n:.1f}/{total:.1f} kimg, {postfix}"
                ", {elapsed} elapsed, {remaining} left",
            )

    def update(self, nimg: int, metrics: dict[str, float], elapsed_s: float) -> None:
        """Called at every status; `elapsed_s` is this process's training time so far."""
        losses = f"loss D {metrics['loss/d']:.2f}"
        if "loss/g" in metrics:  # with several updates of D for one of G there may be none
            losses += f" G {metrics['loss/g']:.2f}"
        for name, value in metrics.items():
            if name.startswith(("fid", "fd")):  # of an evaluation on the way
                losses += f", {name} {value:.2f}"
        speed = f"{metrics['throughput/images_per_s']:.0f} img/s"
        if self._bar is not None:
            self._bar.set_postfix_str(f"{speed}, {losses}", refresh=False)
            self._bar.update(nimg / 1000 - self._bar.n)
            return
        done = nimg - self._start_nimg
        left_s = elapsed_s * (self._total_nimg - nimg) / done if done else 0.0
        print(
            f"{nimg / 1000:.1f}/{self._total_nimg / 1000:.1f} kimg, {speed}, {losses}, "
            f"{left_s:.0f} s left",
            file=self._stream,
            flush=True,
        )

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
