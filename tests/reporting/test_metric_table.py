"""Flat metrics become rows, each number once."""

from pipeline.reporting.metric_table import Figure, metric_table


def test_every_number_appears_once():
    metrics = {
        "fid": 20.0,
        "fid_ci95_low": 19.0,
        "fid_ci95_high": 21.0,
        "baseline_fid": 2.5,
        "fid_dataset_cnn": 10.0,
        "matched_fid_dataset_cnn": 12.0,
        "fid_dataset_cnn_raw": 11.0,
        "baseline_fid_dataset_cnn": 3.0,
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
        ("fid", (("baseline", Figure("2.50")),)),
        ("within_class_std_ratio", (("real images", Figure("1")),)),
    ]


def test_baseline_stands_beside_the_distance_of_as_many_images():
    metrics = {"fid": 20.0, "fid_raw": 22.0, "matched_fid": 23.0, "baseline_fid": 2.5}
    (card,) = metric_table(metrics, {}).headline
    assert card.beside == (
        ("matched", Figure("23.0")),
        ("baseline", Figure("2.50")),
        ("raw", Figure("22.0")),
    )


def test_intervals_stand_beside_their_numbers_and_deviations_apart():
    metrics = {
        "is_mean": 9.2143,
        "is_mean_ci95_low": 9.1021,
        "is_mean_ci95_high": 9.3265,
        "is_std": 0.05,
        "recall": 0.512,
        "recall_ci95_low": 0.498,
        "recall_ci95_high": 0.526,
        "matched_recall": 0.41,
        "matched_precision": 0.8,
        "precision": 0.81,
        "baseline_recall": 0.9,
        "baseline_precision": 0.95,
        "baseline_precision_ci95_low": 0.93,
        "baseline_precision_ci95_high": 0.97,
    }
    table = metric_table(metrics, {})
    assert [(row.key, row.ema, row.reference) for row in table.rows] == [
        ("is_mean", Figure("9.21", "[9.10, 9.33]"), None),
        ("precision", Figure("81.0 %"), Figure("95.0 %", "[93.0 %, 97.0 %]")),
        ("recall", Figure("51.2 %", "[49.8 %, 52.6 %]"), None),
        ("matched_recall", Figure("41.0 %"), Figure("90.0 %")),
    ]
    assert [row.key for row in table.others] == ["is_std", "matched_precision"]


def test_any_extractor_has_its_rows():
    metrics = {
        "fd_efficientnet_lite0": 30.0,
        "fd_efficientnet_lite0_raw": 31.0,
        "baseline_fd_efficientnet_lite0": 5.0,
        "fd_infinity_efficientnet_lite0": 29.0,
        "precision_my_net": 0.5,
        "precision_my_net_ci95_low": 0.4,
        "precision_my_net_ci95_high": 0.6,
    }
    protocol = {"fd_efficientnet_lite0": {"extractor": "efficientnet-lite0"}}
    table = metric_table(metrics, protocol)
    assert [(row.key, row.title, row.extractor) for row in table.rows] == [
        ("fd_efficientnet_lite0", "FD", "efficientnet-lite0"),
        ("fd_infinity_efficientnet_lite0", "FD at infinity", "efficientnet-lite0"),
        ("precision_my_net", "Precision", "my_net"),
    ]
    assert table.rows[0].raw == Figure("31.0")
    assert table.rows[0].reference == Figure("5.00")
    assert (table.others, table.unofficial, table.official) == ((), True, False)


def test_values_by_class_are_one_line_however_many():
    few = {"cat": 0.5, "dog": None, "eel": 0.25}
    many = {f"class {n}": n / 1000 for n in range(1, 1001)}
    entries = [{"by_class": values, "distances": [5.25, 5.125]} for values in (few, many)]
    shown = [metric_table({"fid": 1.0}, {"fid": entry}).rows[0].protocol for entry in entries]
    assert shown[0] == (("by class", "cat 0.500, eel 0.250"), ("distances", "5.250, 5.125"))
    assert shown[1][0][1].startswith("class 1 0.00100, class 2 0.00200, ")
    assert shown[1][0][1].endswith(
        "..., class 991 0.991, class 992 0.992, class 993 0.993, "
        "class 994 0.994, class 995 0.995, class 996 0.996, class 997 0.997, class 998 0.998, "
        "class 999 0.999, class 1000 1.00"
    )


def test_empty_evaluation_is_an_empty_table():
    table = metric_table({}, {})
    assert (table.rows, table.others, table.headline) == ((), (), ())
