"""Published numbers: the tables are whole, and ours stand beside them only where they compare."""

import dataclasses
import re
from typing import Any

import pytest

from models.variants import VARIANTS
from pipeline.data.shards.manifest import Manifest, Split
from pipeline.reporting.comparable import comparable, our_protocol, remark
from pipeline.reporting.paper_table import paper_table
from pipeline.reporting.published import (
    PAPER_FILE,
    PublishedRow,
    read_published,
)
from tests.support.project import ROOT

ROWS = read_published()
OURS = {
    "extractor": "inception-v3-compat",
    "weights_official": True,
    "weights": "raw",
    "num_generated": 50_000,
    "num_real": 1_268_000,
    "reference_split": "train",
}


def _manifest(**changes: Any) -> Manifest:
    count = changes.pop("num_classes", 1000)
    split = Split(rows=0, class_counts=(0,) * count, shards=())
    fields: dict[str, Any] = {
        "format_version": 1,
        "name": "ILSVRC",
        "resolution": 128,
        "channels": 3,
        "class_names": tuple(map(str, range(count))),
        "rows": 0,
        "splits": {"train": split, "heldout": split},
        "source": {"kind": "imagenet"},
        "preprocessing": {},
        "digest": "",
        **changes,
    }
    return Manifest(**fields)


def _row(variant: str, table: str = "Table 1") -> PublishedRow:
    (row,) = [row for row in ROWS if row.variant == variant and row.table == table]
    return row


def _values(row: PublishedRow) -> dict[str, float]:
    return {metric: number.value for metric, number in row.numbers.items()}


def test_the_papers_tables_are_whole():
    table_1 = [row.variant for row in ROWS if row.table == "Table 1"]
    sizes = (8, 16, 32, 64)
    assert table_1 == [
        "no-attention",
        *(f"sagan-feat{size}" for size in sizes),
        *(f"residual-feat{size}" for size in sizes),
    ]
    assert all(set(row.numbers) == {"fid", "is_mean"} for row in ROWS if row.table == "Table 1")
    table_2 = {row.variant: _values(row) for row in ROWS if row.table == "Table 2"}
    assert table_2["sagan"] == {"is_mean": 52.52, "fid": 18.65, "intra_fid": 83.7}
    assert table_2["sngan-projection"] == {"is_mean": 36.8, "fid": 27.62, "intra_fid": 92.4}
    assert "fid" not in table_2["acgan"]
    figure_4 = [row for row in ROWS if row.table == "Figure 4"]
    assert {row.variant for row in figure_4} == {"sn-d", "sn-gd", "sn-gd-ttur"}
    assert all(row.updates is not None for row in figure_4)
    assert {row.variant for row in ROWS} <= {*VARIANTS, None}


def test_marks_say_what_was_read_in_the_paper_itself():
    read = {
        (row.variant, metric): number.read
        for row in ROWS
        if row.table != "port"
        for metric, number in row.numbers.items()
    }
    assert {key for key, how in read.items() if how == "paper"} == {
        ("sagan", "fid"),
        ("sagan", "is_mean"),
        ("sagan-feat64", "fid"),
        ("sagan-feat64", "is_mean"),
        ("sngan-projection", "fid"),
        ("sngan-projection", "is_mean"),
        ("sagan-feat8", "fid"),
        ("sagan-feat32", "fid"),
        ("residual-feat8", "fid"),
        ("residual-feat32", "fid"),
    }
    assert read["sagan", "intra_fid"] == "second-hand"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fid: 22.98", "fod: 22.98"),
        ("fid: 22.98", "fid: many"),
        ("variant: sagan-feat8", "variant: sagan-feat9"),
        ("weights: raw}", "wights: raw}"),
        ("is_splits: 1,", "is_splits: one,"),
        ("read: unverified", "read: somewhere"),
        ("source: sagan,", "source: sogan,"),
        ("read: {fid: paper, is_mean: unverified}", "read: {fid: paper}"),
    ],
)
def test_a_slip_in_the_file_is_told(tmp_path, old, new):
    content = PAPER_FILE.read_text(encoding="utf-8")
    assert old in content
    path = tmp_path / "paper.yaml"
    path.write_text(content.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"paper\.yaml"):
        read_published(path)


def test_rows_of_a_variant():
    rows = {
        variant: [(row.table, _values(row)["fid"]) for row in ROWS if row.variant == variant]
        for variant in ("sagan", "sagan-feat32")
    }
    assert rows == {"sagan": [("Table 2", 18.65)], "sagan-feat32": [("Table 1", 18.28)]}


def test_the_papers_own_protocol_compares():
    ours = our_protocol(OURS, _manifest())
    row = _row("sagan-feat64")
    assert comparable(row, "fid", ours) is None
    assert remark(row, "fid", ours) == "50,000 real images, ours 1,268,000"
    score = our_protocol({**OURS, "num_real": 0, "reference_split": None, "splits": 1}, _manifest())
    assert comparable(row, "is_mean", score) is None
    assert remark(row, "is_mean", score) is None


@pytest.mark.parametrize(
    ("entry", "manifest", "reason"),
    [
        ({}, {"source": {"kind": "folder"}}, "imagenet, not ILSVRC"),
        ({}, {"num_classes": 10}, "1,000 classes, not 10"),
        ({}, {"resolution": 64}, "128x128 pixels, not 64x64"),
        ({"extractor": "dataset-cnn"}, {}, "with the published weights, not of dataset-cnn"),
        ({"weights_official": False}, {}, "published weights, not with other weights"),
        ({"weights": "EMA"}, {}, "raw weights, not EMA"),
        ({"num_generated": 5000}, {}, "50,000 generated images, not 5,000"),
        ({"num_real": 44_000}, {}, "50,000 real images, not 44,000"),
        ({"reference_split": "heldout"}, {}, "against train images, not heldout"),
    ],
)
def test_each_difference_of_protocol_is_the_reason(entry, manifest, reason):
    ours = our_protocol({**OURS, **entry}, _manifest(**manifest))
    found = comparable(_row("sagan-feat64"), "fid", ours)
    assert found is not None
    assert found.endswith(reason)
    assert ";" not in found


def test_a_score_in_other_splits_or_of_other_pixels_does_not_compare():
    score = {**OURS, "num_real": 0, "reference_split": None, "splits": 10}
    ours = our_protocol(score, _manifest())
    assert comparable(_row("sagan-feat64"), "is_mean", ours) == "IS splits 1, not 10"
    averaged = our_protocol({**score, "weights": "EMA"}, _manifest())
    found = comparable(_row("biggan-recipe", "port"), "is_mean", averaged)
    assert found == "Pillow's bicubic in front of Inception, not TensorFlow's"


def test_what_a_source_does_not_say_does_not_compare():
    row = _row("sagan-feat64")
    silent = dataclasses.replace(row.protocol, num_real=None, split=None)
    found = comparable(
        dataclasses.replace(row, protocol=silent), "fid", our_protocol(OURS, _manifest())
    )
    assert found == (
        "against unknown images, not train; an unknown number of real images, not 1,268,000"
    )
    intra = our_protocol({**OURS, "preset": None}, _manifest())
    assert "unknown counts within a class" in (
        comparable(_row("sagan", "Table 2"), "intra_fid", intra) or ""
    )
    assert comparable(row, "fid", None) == "we have no such number"


def test_intra_fid_compares_at_equal_counts_within_the_classes():
    (row,) = [
        r
        for r in ROWS
        if r.protocol.data == "cifar10"
        and r.table == "port"
        and r.variant == "studiogan-recipe"
        and "intra_fid" in r.numbers
    ]
    cifar10 = _manifest(name="cifar10", source={"kind": "cifar10"}, resolution=32, num_classes=10)
    matched = {**OURS, "num_real": 49_000, "preset": "match", "num_generated": 49_000}
    assert comparable(row, "intra_fid", our_protocol(matched, cifar10)) is None
    few = our_protocol({**matched, "shortfall": "some classes ..."}, cifar10)
    found = "match counts within a class, not match, of which some fall short"
    assert comparable(row, "intra_fid", few) == found


def test_ours_stands_beside_theirs_with_weights_of_the_same_kind():
    protocol = {
        "fid": {**OURS, "weights": "EMA"},
        "fid_raw": OURS,
        "is_mean_raw": {**OURS, "num_real": 0, "splits": 10},
    }
    metrics = {"fid": 12.0, "fid_raw": 19.4321, "is_mean_raw": 50.1}
    beside = paper_table(ROWS, "sagan-feat32", metrics, protocol, _manifest())
    papers = beside.comparable[0]
    assert papers.source.startswith("Table 1; ")
    fid, score = papers.cells
    assert (fid.value, fid.ours) == ("18.28", "19.43")
    assert (score.value, score.ours, score.mark) == ("51.43", "", "as others quote it")
    assert score.remark == "IS splits 1, not 10"
    averaged = [row for row in beside.comparable if row.name.startswith("mmgeneration, BigGAN")]
    assert averaged[0].cells[0].ours == "12"


def test_nothing_compares_where_the_features_are_others():
    protocol = {"fid_dataset_cnn_raw": {**OURS, "extractor": "dataset-cnn", "weights": "raw"}}
    metrics = {"fid_dataset_cnn_raw": 3.0}
    digits = _manifest(name="digits", source={"kind": "digits"}, resolution=32, num_classes=10)
    beside = paper_table(ROWS, "sagan", metrics, protocol, digits)
    assert beside.comparable == ()
    (row,) = beside.others
    assert row.reason.startswith("imagenet, not digits; 1,000 classes, not 10; 128x128 pixels")


def test_the_page_of_systems_repeats_the_same_numbers():
    """`a.bc, d.ef` in the table of configs/: pairs of FID and IS."""
    page = (ROOT / "docs" / "systems.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `configs/")]
    pairs = {pair for line in lines for pair in re.findall(r"(\d+\.\d\d), (\d+\.\d\d)", line)}
    known = {
        (f"{row.numbers['fid'].value:.2f}", f"{row.numbers['is_mean'].value:.2f}")
        for row in ROWS
        if {"fid", "is_mean"} <= row.numbers.keys()
    }
    assert len(pairs) >= 6
    assert pairs <= known
