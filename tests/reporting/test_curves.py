"""Curves: every value in the table, and a drawing that says the same."""

import csv
import json
import math
import re

import pytest

from pipeline.reporting.charts import page_chart
from pipeline.reporting.curves import charts, curves_csv, line_chart
from pipeline.tracking.jsonl import MetricsRecord, read_stats


def records(values, name="loss/d"):
    return [
        MetricsRecord(nimg=1000 * (i + 1), elapsed_s=0.0, time=0.0, metrics={name: value})
        for i, value in enumerate(values)
    ]


def drawn(chart):
    """The chart as a page has it: its SVG, and its interactive form as Vega-Lite."""
    shown = page_chart(line_chart(chart), line_chart(chart, interactive=True))
    return shown.svg, json.loads(shown.spec)


def points(svg):
    """The vertices of the first curve."""
    lines = re.search(r'<g class="mark-line.*?</g>', svg)
    path = re.search(r' d="([^"]*)"', lines[0]) if lines else None
    return [
        (c, float(x), float(y))
        for c, x, y in re.findall(r"([ML])([\d.]+),([\d.]+)", path[1] if path else "")
    ]


def test_csv_holds_every_status(digits_report):
    statuses, _ = read_stats(digits_report.inputs.model / "stats.jsonl")
    with digits_report.outputs.curves.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(statuses) == 96
    for row, status in zip(rows, statuses, strict=True):
        assert float(row.pop("kimg")) == status.nimg / 1000
        assert {name: float(value) for name, value in row.items()} == status.metrics


def test_csv_leaves_empty_what_has_no_value():
    mixed = [*records([1.5, math.nan]), *records([7.0], "loss/g")]
    assert curves_csv(mixed) == "kimg,loss/d,loss/g\n1.0,1.5,\n2.0,,\n1.0,,7.0\n"


def test_metrics_are_sorted_into_charts(digits_report):
    statuses, _ = read_stats(digits_report.inputs.model / "stats.jsonl")
    drawn = {chart.title: [s.name for s in chart.series] for chart in charts(statuses)}
    assert drawn == {
        "Losses": ["D", "G"],
        "Logits of D": ["generated", "real"],
        "Attention gamma": ["D at 16x16", "G at 16x16"],
        "Throughput": ["images/s"],
    }
    assert [c.title for c in charts(records([1.0], "new/thing"))] == ["Other"]
    assert charts([]) == ()


def test_long_run_is_thinned_to_means():
    (chart,) = charts(records([float(i) for i in range(1000)]))
    assert len(chart.kimg) == 334
    assert chart.series[0].values[0] == 1.0  # mean of 0, 1, 2
    assert chart.kimg[0] == 2.0


def test_what_is_measured_now_and_then_is_one_curve():
    statuses = records([1.0, 2.0, 3.0, 4.0])
    for status, distance in ((statuses[1], 9.0), (statuses[3], 5.0)):
        status.metrics["fid2k_dataset_cnn"] = distance
        status.metrics["fd2k_efficientnet_lite0"] = 10 * distance
    first, second, losses = charts(statuses)
    assert first.title == "Distance during training: fd2k_efficientnet_lite0"
    assert (second.kimg, second.series[0].values) == ((2.0, 4.0), (9.0, 5.0))
    assert [command for command, _, _ in points(drawn(second)[0])] == ["M", "L"]
    assert len(losses.kimg) == 4


def test_drawing_is_true_to_scale_and_broken_at_gaps():
    (chart,) = charts(records([0.0, 1.0, math.nan, 3.0, 4.0]))
    svg, spec = drawn(chart)
    found = points(svg)
    assert [command for command, _, _ in found] == ["M", "L", "M", "L"]
    xs, ys = [x for _, x, _ in found], [y for _, _, y in found]
    assert xs[1] - xs[0] == pytest.approx(xs[3] - xs[2])
    assert xs[2] - xs[1] == pytest.approx(2 * (xs[1] - xs[0]))
    assert ys[0] - ys[1] == pytest.approx(ys[2] - ys[3])
    assert ys[0] - ys[2] == pytest.approx(3 * (ys[0] - ys[1]))
    assert [row["s0"] for row in spec["data"]["values"]] == [0.0, 1.0, None, 3.0, 4.0]
    assert spec["width"] == "container"


def test_a_single_value_is_a_dot():
    (chart,) = charts(records([2.0]))
    # A line of no length, whose round ends are drawn.
    assert re.search(r'd="M[\d.]+,[\d.]+Z"[^>]*stroke-linecap="round"', drawn(chart)[0])


@pytest.mark.parametrize("values", [[2.0], [0.0, 0.0], [-3.0, -3.0], [math.nan], [1e-9, 2e-9]])
def test_flat_and_empty_curves_are_drawn(values):
    (chart,) = charts(records(values))
    svg, _ = drawn(chart)
    assert len(points(svg)) == sum(math.isfinite(value) for value in values)
    assert "NaN" not in svg


def test_names_in_a_chart_are_escaped():
    name = '"><script>.[0] \\'
    (chart,) = charts(records([1.0, 2.0], name))
    svg, spec = drawn(chart)
    assert "<script" not in svg
    assert "&lt;script" in svg
    (tooltip,) = [e["tooltip"] for e in (x["encoding"] for x in spec["layer"]) if "tooltip" in e]
    assert [line["title"] for line in tooltip] == ["thousand images", name]
