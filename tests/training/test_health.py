"""What a run does when numbers break down, samples collapse or processes drift apart."""

from dataclasses import replace

import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.runs.checkpoints import Checkpoints
from pipeline.runs.outputs import RunOutputs
from pipeline.tracking.tracker import Tracker
from pipeline.training import loop
from pipeline.training.health import COLLAPSE_REPORTS, CollapseDetector
from pipeline.training.loop import train
from tests.support.tiny_run import RUNTIME, TINY


class _Collector(Tracker):
    def __init__(self):
        self.reports = []

    def log(self, metrics, nimg, elapsed_s):
        self.reports.append((nimg, metrics))


@pytest.fixture
def poisoned(digits, tmp_path, monkeypatch):
    """Trains TINY with a weight of D turned into NaN before the step at some nimg, so many times.

    A hardware fault would look like this; returns summary and reports.
    """

    def poisoned(at_nimg, times, runtime=RUNTIME, **changes):
        settings = replace(TINY, **changes)
        left = [times]
        real_step = loop._step

        def step(settings, runtime, state, *rest):
            if state.nimg >= at_nimg and left[0] > 0:
                left[0] -= 1
                with torch.no_grad():
                    state.D.blocks[1].conv1.weight[0, 0, 0, 0] = float("nan")
            real_step(settings, runtime, state, *rest)

        monkeypatch.setattr(loop, "_step", step)
        tracker = _Collector()
        names = [str(i) for i in range(10)]
        with Checkpoints(tmp_path / "checkpoints", "key", 2, 32) as checkpoints:
            metadata = {"class_names": names}
            outputs = RunOutputs(tmp_path, settings, metadata, checkpoints, tracker)
            summary = train(settings, digits.train, runtime, outputs=outputs)
        return summary, tracker.reports

    return poisoned


def test_breakdown_names_rank_layer_and_moment(poisoned, tmp_path):
    where = r"loss/d.* on rank 0, the weight D\.blocks\.1\.conv1\.weight not finite at nimg 80;"
    with pytest.raises(UserError, match=where):
        poisoned(80, 1)
    newest = torch.load(max((tmp_path / "checkpoints").glob("*.pt")), weights_only=True)
    assert newest["nimg"] == 64
    assert all(torch.isfinite(t).all() for t in newest["D"].values())


def _report(fake=0.4, loss=1.0):
    return {"pixel_std/real": 0.5, "pixel_std/fake": fake, "loss/d": loss}


@pytest.mark.parametrize(
    ("report", "words"),
    [(_report(fake=0.01), "vary 2.0% as much"), (_report(loss=1e-5), "loss is")],
)
def test_collapse_is_seen_after_some_reports(report, words):
    detector = CollapseDetector("hinge")
    signs = [detector.check(report) for _ in range(COLLAPSE_REPORTS)]
    assert signs[:-1] == [None] * (COLLAPSE_REPORTS - 1)
    assert words in signs[-1]
    assert detector.check(_report()) is None
    assert detector.check(report) is None


def test_wasserstein_losses_near_zero_are_no_collapse():
    detector = CollapseDetector("wasserstein-gp")
    assert not any(detector.check(_report(loss=0.0)) for _ in range(9))


def test_collapse_ends_the_run_where_asked(poisoned, monkeypatch):
    monkeypatch.setattr("pipeline.training.health.COLLAPSED_PIXEL_STD", 99.0)
    stopping = replace(RUNTIME, on_collapse="stop")
    with pytest.raises(UserError, match=r"training has collapsed at nimg 96: .*as much as real"):
        poisoned(0, 0, stopping)
    summary, reports = poisoned(0, 0)
    assert summary.nimg == TINY.total_nimg
    assert [metrics["collapse/detected"] for _, metrics in reports][-1] == 1.0
