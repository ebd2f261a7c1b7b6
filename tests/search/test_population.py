"""When the members of a population are compared, and what is kept of what they left."""

from types import SimpleNamespace

import pytest

from pipeline.search.history import fold
from pipeline.search.journal import Journal, read_journal
from pipeline.search.population import Population
from pipeline.search.recorder import Recorder
from tests.search.studies import study, trial_events

PBT = {"searcher": "random", "scheduler": "pbt", "num_trials": 2, "max_kimg": 9.0}
CONTROLLER = SimpleNamespace(search_alg=None, get_trials=list)


class _RaysTrial:
    """As much of Ray's trial as the scheduler looks at."""

    status = "RUNNING"
    experiment_tag = "0"

    def __init__(self, id):
        self.config = {"trial": {"id": id}}
        limits = SimpleNamespace(checkpoint_config=SimpleNamespace(num_to_keep=None))
        self.run_metadata = SimpleNamespace(checkpoint_manager=limits)

    def is_finished(self):
        return False


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Takes earlier events and the kimg of a member's reports; at which of them it is compared."""

    def compare(events, kimgs):
        path = tmp_path / "journal.jsonl"
        journal = Journal(path)
        for event in events:
            journal.append(event)
        recorder = Recorder(study(**PBT), journal, fold(read_journal(path)), lambda trial: None)
        population = Population(recorder)
        compared = []
        monkeypatch.setattr(
            population, "_checkpoint_or_exploit", lambda *arguments: compared.append(kimg)
        )
        member = _RaysTrial("000-s0")
        population.on_trial_add(CONTROLLER, member)
        for kimg in kimgs:
            population.on_trial_result(
                CONTROLLER, member, {"id": "000-s0", "kimg": kimg, "value": 1.0}
            )
        return compared

    return compare


def test_every_report_is_compared_though_whole_batches_come_late_and_early(compare):
    """With batches of 48 images the third report comes 0.96 kimg after the second."""
    kimgs = [1.008, 2.016, 3.024, 4.032, 5.04, 6.0, 7.008]
    assert compare(trial_events(0, {}), kimgs) == kimgs


def test_a_member_that_is_taken_up_again_is_compared_by_its_last_report(compare):
    earlier = trial_events(0, {}, 5.0, 4.0, 3.0)
    assert compare(earlier, [1.0, 2.0, 3.0, 4.0]) == [3.0, 4.0]


def test_a_member_that_goes_back_with_a_state_reports_from_there_on():
    events = trial_events(0, {}, 5.0, 4.0, 3.0)
    for event in events[1:]:
        event["run_dir"] = "runs/own"
    parent = {"trial": "001-s0", "run_dir": "runs/other", "run_key": "x", "nimg": 2000}
    events.append({"event": "exploit", "id": "000-s0", "config": {"a": 1}, "parent": parent})
    history = fold(events)
    assert [report.kimg for report in history.trials["000-s0"].reports] == [1.0, 2.0]
    assert history.apply(
        {"event": "report", "id": "000-s0", "kimg": 3.0, "value": 1.0, "run_dir": "runs/heir"}
    )
    trial = history.trials["000-s0"]
    assert (trial.kimg, trial.value) == (3.0, 1.0)
    assert (trial.run_dir, trial.earlier_runs) == ("runs/heir", ("runs/own",))
