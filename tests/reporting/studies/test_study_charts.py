"""A study's charts: which trials, means, intervals and rates they show."""

import re

import vl_convert

from pipeline.reporting.studies.bars import configuration_bars
from pipeline.reporting.studies.learning_curves import learning_curves
from pipeline.reporting.studies.rate_map import rate_map_chart, rate_maps
from pipeline.search.results import study_results
from tests.support.study_folders import falling, write_attention, write_study, write_ttur


def marks(chart, kind):
    """The accessible descriptions of the chart's marks of a kind, in the order of drawing."""
    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    groups = re.findall(rf'<g class="mark-{kind} role-mark[^>]*?(?:/>|>.*?</g>)', svg)
    return [re.findall(r'aria-label="([^"]*)"', group) for group in groups]


def test_map_tells_finished_configurations_from_the_others(tmp_path):
    (chart,) = rate_maps(study_results(write_ttur(tmp_path)))
    discs, rings, crosses, paper = marks(rate_map_chart(chart), "symbol")
    assert [re.search(r"outcome: (.*)", label)[1] for label in discs] == [
        "61.20, complete at 8 kimg",
        "44.40, complete at 8 kimg",
        "39.70, complete at 8 kimg",
    ]
    assert [re.search(r"outcome: (.*)", label)[1] for label in rings] == [
        "190.0, stopped at 2 kimg",
        "130.0, stopped at 6 kimg",
    ]
    assert [re.search(r"outcome: (.*)", label)[1] for label in crosses] == [
        "no value, failed at 2 kimg"
    ]
    assert "learning rate of G: 0.0001; learning rate of D: 0.0004" in paper[0]
    (numbers, _) = marks(rate_map_chart(chart), "text")
    assert len(numbers) == 5


def test_maps_of_one_study_share_their_colours(tmp_path):
    trials = [
        (
            {"train.g_lr": rate, "train.d_lr": rate, "model.variant": variant},
            0,
            "complete",
            falling(value),
        )
        for variant, value in (("sagan", 20.0), ("no-attention", 40.0))
        for rate in (1e-3, 2e-3)
    ]
    rates = {"loguniform": [1e-4, 1e-2]}
    space = {
        "train.g_lr": rates,
        "train.d_lr": rates,
        "model.variant": {"choice": ["sagan", "no-attention"]},
    }
    maps = rate_maps(study_results(write_study(tmp_path, trials, space=space)))
    assert [chart.title for chart in maps] == ["variant=sagan", "variant=no-attention"]
    assert {(chart.lowest, chart.highest) for chart in maps} == {(20.0, 40.0)}
    # Discs, rings and crosses: the paper's rates are far below these.
    assert [len(marks(rate_map_chart(chart), "symbol")) for chart in maps] == [3, 3]


def test_bars_show_means_intervals_and_seeds(tmp_path):
    chart = configuration_bars(study_results(write_attention(tmp_path)))
    means, lows, highs = marks(chart, "rect")
    assert [len(lows), len(highs)] == [5, 5]
    assert means[0].startswith("fid2k_dataset_cnn: 31.4; name: no-attention")
    assert "95 % interval: 26.32 to 36.48" in means[0]
    (seeds,) = marks(chart, "symbol")
    assert seeds[:2] == ["value: 31; name: no-attention", "value: 31.8; name: no-attention"]


def test_an_interval_beyond_the_chart_has_no_cap(tmp_path):
    values = {"no-attention": 31.0, "sagan-feat8": 28.0}
    trials = [
        ({"model.variant": name}, seed, "complete", falling(value * (1 + 0.5 * seed)))
        for name, value in values.items()
        for seed in (0, 1)
    ]
    space = {"model.variant": {"grid": list(values)}}
    folder = write_study(
        tmp_path, trials, space=space, searcher="grid", num_trials=None, seeds=[0, 1]
    )
    _, lows, highs = marks(configuration_bars(study_results(folder)), "rect")
    assert len(lows) == 2  # a distance is never below 0
    assert highs == []
    (lines,) = marks(configuration_bars(study_results(folder)), "rule")
    assert all("high: 62" in line for line in lines)  # 1.6 times the largest mean


def test_a_study_over_ranges_has_no_bars(tmp_path):
    assert configuration_bars(study_results(write_ttur(tmp_path))) is None


def test_curves_are_those_of_trials_and_means_of_all_seeds(tmp_path):
    names = ("no-attention", "sagan-feat8")
    trials = [
        ({"model.variant": names[0]}, 0, "complete", falling(30.0)),
        ({"model.variant": names[0]}, 1, "complete", falling(40.0)),
        ({"model.variant": names[1]}, 0, "complete", falling(50.0)),
        ({"model.variant": names[1]}, 1, "failed", [(2.0, 70.0), (4.0, None)]),
    ]
    space = {"model.variant": {"grid": list(names)}}
    folder = write_study(
        tmp_path, trials, space=space, searcher="grid", num_trials=None, seeds=[0, 1]
    )
    chart = learning_curves(study_results(folder))
    *lines, first_mean, second_mean = [label for (label,) in marks(chart, "line")]
    assert [line.rpartition("trial: variant=")[2] for line in lines] == [
        "no-attention seed=0",
        "no-attention seed=1",
        "sagan-feat8 seed=0",
        "sagan-feat8 seed=1",
    ]
    assert "fid2k_dataset_cnn: 87.5; config: variant=no-attention" in first_mean
    assert "fid2k_dataset_cnn: 97.5; config: variant=sagan-feat8" in second_mean
    assert path_of(chart, 4).count("L") == 3
    assert path_of(chart, 5).count("L") == 0  # later its second seed has no value
    (ends,) = marks(chart, "symbol")
    assert [re.search(r"cnn: (.*); config.*status: (.*)", end).groups() for end in ends] == [
        ("30", "finished"),
        ("40", "finished"),
        ("50", "finished"),
        ("70", "failed"),
    ]


def path_of(chart, number):
    """The vertices of a line."""
    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    return re.findall(r'<g class="mark-line role-mark.*? d="([^"]*)"', svg)[number]
