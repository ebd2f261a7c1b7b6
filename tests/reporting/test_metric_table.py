"""Flat metrics become rows, each number once."""

from pipeline.reporting.metric_table import Figure, metric_table


def test_every_number_appears_once():
    metrics = {
        "fid": 20.0,
        "fid_ci95_low": 19.0,
        "fid_ci95_high": 21.0,
        "floor_fid": 2.5,
        "fid_dataset_cnn": 10.0,
        "fid_dataset_cnn_raw": 11.0,
        "floor_fid_dataset_cnn": 3.0,
        "within_class_std_ratio": 0.7,
        "novel": 7.0,
        "not_computed": None,
    }
    table = metric_table(metrics, {"fid": {"seed": 1000, "num_real": 50000, "cached": None}})
    assert [(row.key, row.ema, row.raw, row.reference) for row in table.rows] == [
        ("fid", Figure("20.0", "[19.0, 21.0]"), None, Figure("2.50")),
        ("fid_dataset_cnn", Figure("10.0"), Figure("11.0"), Figure("3.00")),
        ("within_class_std_ratio", Figure("0.700"), None, Figure("1")),
    ]
    assert [(row.key, row.ema) for row in table.others] == [("novel", Figure("7.000"))]
    assert table.rows[0].protocol == (("seed", "1000"), ("num real", "50,000"), ("cached", "none"))
    assert table.official
    assert table.unofficial
    assert [row.key for row in table.headline] == ["fid", "within_class_std_ratio"]


def test_empty_evaluation_is_an_empty_table():
    table = metric_table({}, {})
    assert (table.rows, table.others, table.headline) == ((), (), ())
