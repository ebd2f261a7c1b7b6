"""A study's page: what it says of finished, unfinished, failed and comparable studies."""

import html
import re

import pytest

from pipeline.core.errors import UserError
from pipeline.reporting.published import read_published
from pipeline.reporting.studies.build import write_study_page
from pipeline.reporting.studies.paper_order import paper_orders
from pipeline.search.results import study_results
from tests.support.study_folders import (
    IMAGENET,
    falling,
    write_attention,
    write_study,
    write_ttur,
)


def page_of(folder):
    """The page's text without tags and scripts, and its source."""
    write_study_page(folder)
    source = (folder / "index.html").read_text(encoding="utf-8")
    body = re.sub(r"<script.*?</script>", "", source[source.index("<body>") :], flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split()), source


def test_a_study_over_rates(tmp_path):
    text, source = page_of(write_ttur(tmp_path))
    assert "Not finished" not in text
    assert "3 finished, 2 stopped, 1 failed" in text
    assert "g_lr=4.5e-4 d_lr=1.8e-3 fid2k_dataset_cnn · lower is better 39.70" in text
    assert "one seed: no interval" in text
    assert "dvc exp run -n ttur-best -S train.g_lr=0.00045 -S train.d_lr=0.0018" in text
    assert "python tune.py --study ttur --apply" in text
    assert "rung 2" in text
    assert "rung 6" in text
    assert "it <b>died</b>" in text  # escaped in the source
    assert "<b>died" not in source
    assert "paper's rates" in text
    own = re.sub(r'<script id="vega">.*?</script>', "", source, flags=re.DOTALL)
    assert "http" not in re.sub(r"http://www.w3.org\S+", "", own)  # needs nothing else
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == ["curves.png", "rates.png"]


def test_a_study_over_systems_beside_the_paper(tmp_path):
    text, _ = page_of(write_attention(tmp_path))
    assert "24.90 19.82 to 29.98 mean over 2 seeds" in text
    assert "Published, not ours: imagenet, not digits" in text
    assert "256,000 kimg), not 8 kimg" in text
    assert "sagan-feat16 Table 1 FID 22.14 (recalled), IS 45.94 (recalled) 24.90" in text
    assert "Kendall's tau 0.80 over 5 systems" in text
    assert "with probability 1/24" in text
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == [
        "curves.png",
        "placements.png",
    ]


def test_numbers_of_the_paper_s_own_protocol_compare(tmp_path):
    text, _ = page_of(write_attention(tmp_path, measured=IMAGENET, metric_key="fid"))
    assert "Not comparable" not in text


def test_an_unfinished_study_says_so(tmp_path):
    trials = [
        ({"model.variant": "sagan-feat8"}, 0, "complete", falling(30.0)),
        ({"model.variant": "sagan-feat8"}, 1, "unfinished", falling(33.0, 4)),
    ]
    space = {"model.variant": {"grid": ["sagan-feat8", "sagan-feat16"]}}
    folder = write_study(
        tmp_path,
        trials,
        study="attention",
        space=space,
        searcher="grid",
        num_trials=None,
        seeds=[0, 1],
    )
    text, _ = page_of(folder)
    assert "Not finished. 1 of 4 trials are over." in text
    assert "one seed: no interval" in text
    assert "Fewer than two of these systems have a value, so there is no order." in text


def test_a_study_without_a_report_has_a_page(tmp_path):
    text, source = page_of(
        write_study(tmp_path, [({"train.g_lr": 1e-4, "train.d_lr": 1e-4}, 0, "unfinished", [])])
    )
    assert "there is no best one" in text
    assert 'id="curves"' not in source


def test_no_folder_of_a_study_is_told(tmp_path):
    with pytest.raises(UserError, match="study"):
        write_study_page(tmp_path / "none")


# Table 1 in the paper's order of FID: 22.14, 22.40, 22.96, 22.98, 42.13.
TABLE_1 = ("sagan-feat16", "residual-feat16", "no-attention", "sagan-feat8", "residual-feat8")


@pytest.mark.parametrize(
    ("ranks", "seeds", "verdict"),
    [
        ((1, 2, 3, 4, 5), (0, 1, 2), "order is reproduced: significant"),
        ((1, 2, 3, 4, 5), (0,), "by single runs"),
        ((1, 2, 3, 5, 4), (0, 1), "in most pairs, not in all"),
        ((5, 4, 3, 2, 1), (0, 1), "is the reverse of the paper's"),
        ((3, 1, 2, 5, 4), (0, 1), "is not reproduced"),
        ((1, 2, 3), (0, 1), "3 systems are too few for a test: even a perfect order has p = 1/6"),
    ],
)
def test_verdicts_say_no_more_than_the_data_bear(tmp_path, ranks, seeds, verdict):
    values = {name: 20.0 + 5 * rank for name, rank in zip(TABLE_1, ranks, strict=False)}
    folder = write_attention(tmp_path, values, seeds=seeds)
    (order,) = paper_orders(study_results(folder), read_published())
    assert verdict in order.verdict


def test_table_2_is_ordered_by_what_the_paper_has_of_most_systems(tmp_path):
    folder = write_attention(tmp_path, {"acgan": 30.0, "sngan-projection": 29.0, "sagan": 25.0})
    orders = paper_orders(study_results(folder), read_published())
    assert {(o.metric, o.agreement.num_items, o.lower_first) for o in orders} == {
        ("inception score", 3, False),
        ("intra FID", 3, True),
        ("FID", 2, True),
    }
    assert all(o.theirs[0].startswith("sagan (") for o in orders)
    assert all(o.agreement.is_same_order for o in orders)


def test_seeds_that_scatter_more_than_the_order_forbid_a_verdict(tmp_path):
    scatter = [(0, 3), (2, -1), (-2, 4), (3, 0), (1, 5)]
    trials = [
        (
            {"model.variant": name},
            seed,
            "complete",
            falling(30.0 + 0.5 * rank + scatter[rank][seed]),
        )
        for rank, name in enumerate(TABLE_1)
        for seed in (0, 1)
    ]
    space = {"model.variant": {"grid": list(TABLE_1)}}
    folder = write_study(
        tmp_path, trials, space=space, searcher="grid", num_trials=None, seeds=[0, 1]
    )
    (order,) = paper_orders(study_results(folder), read_published())
    assert order.bootstrap.low < 0
    assert "is reproduced" not in order.verdict
