"""Flat metrics become rows, each number once."""

from pipeline.reporting.metric_table import Figure, metric_table


def test_every_number_appears_once():
    metrics = {
        "fid": 20.0,
        "fid_ci95_low": 19.0,
        "fid_ci95_high": 21.0,
        "floor_fid": 2.5,
        "fid_dataset_cnn": 10.0,
        "matched_fid_dataset_cnn": 12.0,
        "fid_dataset_cnn_raw": 11.0,
        "floor_fid_dataset_cnn": 3.0,
        "within_class_std_ratio": 0.7,
        "novel": 7.0,
        "not_computed": None,
    }
    table = metric_table(metrics, {"fid": {"seed": 1000, "num_real": 50000, "cached": None}})
    assert [(row.key, row.ema, row.raw, row.reference) for row in table.rows] == [
        ("fid", Figure("20.0", "[19.0, 21.0]"), None, Figure("2.50")),
        ("fid_dataset_cnn", Figure("10.0"), Figure("11.0"), None),
        ("matched_fid_dataset_cnn", Figure("12.0"), None, Figure("3.00")),
        ("within_class_std_ratio", Figure("0.700"), None, Figure("1")),
    ]
    assert [(row.key, row.ema) for row in table.others] == [("novel", Figure("7.000"))]
    assert table.rows[0].protocol == (("seed", "1000"), ("num real", "50,000"))
    assert table.official
    assert table.unofficial
    assert [(card.row.key, card.beside) for card in table.headline] == [
        ("fid", (("floor", Figure("2.50")),)),
        ("within_class_std_ratio", (("real images", Figure("1")),)),
    ]


def test_floor_stands_beside_the_distance_of_as_many_images():
    metrics = {"fid": 20.0, "fid_raw": 22.0, "matched_fid": 23.0, "floor_fid": 2.5}
    (card,) = metric_table(metrics, {}).headline
    assert card.beside == (
        ("matched", Figure("23.0")),
        ("floor", Figure("2.50")),
        ("raw", Figure("22.0")),
    )


def test_empty_evaluation_is_an_empty_table():
    table = metric_table({}, {})
    assert (table.rows, table.others, table.headline) == ((), (), ())
