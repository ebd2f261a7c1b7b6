"""`stats.jsonl`: records are read back as written, also after a kill."""

import json
import math

import pytest

from pipeline.core.errors import UserError
from pipeline.tracking.jsonl import JsonlTracker, read_stats


def test_records_come_back_sorted_and_cut_at_nimg(tmp_path):
    tracker = JsonlTracker(tmp_path / "run")
    tracker.log({"loss/d": 1.5, "loss/g": -0.25}, nimg=1000, elapsed_s=2.5)
    tracker.image("samples", tmp_path / "run" / "samples" / "a.png", nimg=1000)
    tracker.log({"loss/d": 1.25}, nimg=2000, elapsed_s=5.0)
    tracker.close("finished")
    metrics, images = read_stats(tmp_path / "run" / "stats.jsonl")
    assert [(r.nimg, r.elapsed_s, r.metrics) for r in metrics] == [
        (1000, 2.5, {"loss/d": 1.5, "loss/g": -0.25}),
        (2000, 5.0, {"loss/d": 1.25}),
    ]
    assert [(r.nimg, r.name, r.path) for r in images] == [(1000, "samples", "samples/a.png")]
    assert [r.nimg for r in read_stats(tmp_path / "run" / "stats.jsonl", up_to_nimg=1999)[0]] == [
        1000
    ]


def test_last_record_of_a_repeated_nimg_wins(tmp_path):
    for values in ({1000: 1.0, 2000: 2.0, 3000: 3.0}, {2000: 20.0}):
        tracker = JsonlTracker(tmp_path)
        for nimg, value in values.items():
            tracker.log({"loss/d": value}, nimg, 0.0)
        tracker.close("preempted")
    metrics, _ = read_stats(tmp_path / "stats.jsonl")
    assert [(r.nimg, r.metrics["loss/d"]) for r in metrics] == [
        (1000, 1.0),
        (2000, 20.0),
        (3000, 3.0),
    ]


@pytest.mark.parametrize("torn_bytes", [1, 40, 70_000])
def test_torn_last_line_is_skipped_and_cut_off(tmp_path, torn_bytes):
    tracker = JsonlTracker(tmp_path)
    tracker.log({"loss/d": 1.0}, 1000, 1.0)
    tracker.close("failed")
    path = tmp_path / "stats.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"type": "metrics", "x": "'.ljust(torn_bytes, b"y")[:torn_bytes])
    assert [r.nimg for r in read_stats(path)[0]] == [1000]
    tracker = JsonlTracker(tmp_path)
    assert path.read_bytes() == whole
    tracker.log({"loss/d": 2.0}, 2000, 2.0)
    tracker.close("finished")
    assert [r.nimg for r in read_stats(path)[0]] == [1000, 2000]


def test_file_that_is_one_torn_line_becomes_empty(tmp_path):
    (tmp_path / "stats.jsonl").write_bytes(b"{" * 200_000)
    JsonlTracker(tmp_path).close("failed")
    assert (tmp_path / "stats.jsonl").read_bytes() == b""


def test_each_record_is_on_disk_at_once_and_is_strict_json(tmp_path):
    tracker = JsonlTracker(tmp_path)
    tracker.log({"loss/d": math.nan, "loss/g": math.inf}, 1000, 1.0)
    line = (tmp_path / "stats.jsonl").read_text()

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(line, parse_constant=refuse)["metrics"] == {"loss/d": None, "loss/g": None}
    tracker.close("failed")
    (record,) = read_stats(tmp_path / "stats.jsonl")[0]
    assert math.isnan(record.metrics["loss/d"])


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"type": "metrics", "nimg": 1}', "null"])
def test_malformed_line_is_named(tmp_path, line):
    path = tmp_path / "stats.jsonl"
    path.write_text(f'{{"type": "later", "nimg": 1}}\n{line}\n')
    with pytest.raises(UserError, match=r"stats.jsonl, line 2"):
        read_stats(path)


def test_missing_file_names_the_command(tmp_path):
    with pytest.raises(UserError, match="dvc repro train"):
        read_stats(tmp_path / "stats.jsonl")


def test_records_read_back_from_their_own_lines(tmp_path):
    tracker = JsonlTracker(tmp_path)
    tracker.log({"loss/d": 1 / 3}, 1000, 1.25)
    tracker.image("samples", tmp_path / "samples" / "a.png", 1000)
    tracker.close("finished")
    metrics, images = read_stats(tmp_path / "stats.jsonl")
    copied = "".join(record.to_line() for record in [*metrics, *images])
    assert copied == (tmp_path / "stats.jsonl").read_text()
