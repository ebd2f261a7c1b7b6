"""The journal, the history it adds up to, and configurations over their seeds."""

import pytest

from pipeline.core.errors import UserError
from pipeline.search.journal import Journal, Report, fold, read_journal
from pipeline.search.results import config_results
from tests.support.studies import trial_events


def test_a_torn_line_is_cut_off(tmp_path):
    path = tmp_path / "journal.jsonl"
    Journal(path).append({"event": "a", "id": "x"})
    with open(path, "a") as file:
        file.write('{"event": "rep')  # the process was killed
    assert read_journal(path) == [{"event": "a", "id": "x"}]
    Journal(path).append({"event": "b", "id": "x"})
    assert [event["event"] for event in read_journal(path)] == ["a", "b"]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"event": "a", "id": "x"}\n{"even\n{"event": "a", "id": "x"}\n')
    with pytest.raises(UserError, match=r"journal\.jsonl, line 2 is damaged"):
        read_journal(path)


def test_history_is_the_fold_of_events():
    events = trial_events(0, {"train.g_lr": 1e-3}, 5.0, None, 4.0, end="complete")
    trial = fold(events).trials["000-s0"]
    assert trial.reports == (
        Report(kimg=1.0, value=5.0),
        Report(kimg=2.0, value=None),
        Report(kimg=3.0, value=4.0),
    )
    assert (trial.kimg, trial.value, trial.status) == (3.0, 4.0, "complete")


def test_repeated_reports_change_nothing():
    history = fold(trial_events(0, {}, 5.0, 4.0))
    assert not history.apply({"event": "report", "id": "000-s0", "kimg": 1.0, "value": 5.0})
    assert history.apply({"event": "report", "id": "000-s0", "kimg": 3.0, "value": 3.0})
    assert history.trials["000-s0"].value == 3.0


def test_a_trial_whose_processes_died_is_retried():
    history = fold(trial_events(0, {}, 5.0))
    history.apply({"event": "end", "id": "000-s0", "status": "failed", "died": True})
    assert history.trials["000-s0"].is_over
    history.apply({"event": "retry", "id": "000-s0"})
    assert not history.trials["000-s0"].is_over
    assert not history.trials["000-s0"].died


def test_mean_and_interval_over_seeds():
    events = []
    for seed, value in enumerate((10.0, 11.0, 12.0)):
        events += trial_events(0, {"a": 1}, value, end="complete", seed=seed)
    (result,) = config_results(fold(events))
    assert result.value == 11.0
    # Student's t with 2 degrees of freedom: 4.302653 times 1 / sqrt(3).
    assert result.ci95 == pytest.approx((11 - 2.484138, 11 + 2.484138), abs=1e-5)
    assert result.is_complete
    (bounded,) = config_results(fold(events), lowest=9.0)
    assert bounded.ci95 == pytest.approx((9, 11 + 2.484138), abs=1e-5)
    (partial,) = config_results(fold(events[:5]))
    assert partial.value == 10.0
    assert partial.ci95 is None
    assert not partial.is_complete
