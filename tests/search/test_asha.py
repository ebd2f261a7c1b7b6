"""ASHA's decisions, which are the same after the driver was killed."""

import random

from ray.tune.schedulers import TrialScheduler

from pipeline.search.journal import Journal, Recorder, fold, read_journal
from pipeline.search.schedulers import JournaledASHA
from tests.support.studies import study, trial_events


class _RaysTrial:
    """The attributes of Ray's trial that schedulers read; its id differs in each driver."""

    def __init__(self, id):
        self.config = {"trial": {"id": id}}
        self.trial_id = f"ray-{random.random()}"


def _recorder(small, path):
    return Recorder(small, Journal(path), fold(read_journal(path)), lambda trial: None)


def _report(scheduler, trial, kimg, value):
    result = {"id": trial.config["trial"]["id"], "kimg": kimg, "value": value}
    return scheduler.on_trial_result(None, trial, {**result, "mlflow_run_id": None})


def _begin(scheduler, recorder, count, first=0):
    trials = []
    for index in range(first, first + count):
        (trial,) = recorder.add_trials(index, {"train.g_lr": 1e-3 * (index + 1)})
        trials.append(_RaysTrial(trial.id))
        scheduler.on_trial_add(None, trials[-1])
    return trials


def test_one_in_three_continues(tmp_path):
    small = study(grace_kimg=1.0, reduction_factor=3)
    recorder = _recorder(small, tmp_path / "journal.jsonl")
    scheduler = JournaledASHA(recorder, [])
    trials = _begin(scheduler, recorder, 9)
    decisions = [_report(scheduler, t, 1.0, float(i)) for i, t in enumerate(trials)]
    # The best come first, so that each later one is behind the best third of those before it.
    assert decisions[0] == TrialScheduler.CONTINUE
    assert decisions[3:] == [TrialScheduler.STOP] * 6
    # The best third of 0..8 ends between 2 and 3; it moves with each value that is added.
    (trial,) = _begin(scheduler, recorder, 1, first=9)
    assert _report(scheduler, trial, 1.0, 2.6) == TrialScheduler.CONTINUE
    (trial,) = _begin(scheduler, recorder, 1, first=10)
    assert _report(scheduler, trial, 1.0, 2.8) == TrialScheduler.STOP
    # Rungs are at 1, 3 and 9 kimg: a report between them decides nothing.
    assert _report(scheduler, trials[0], 2.0, 100.0) == TrialScheduler.CONTINUE
    assert _report(scheduler, trials[0], 3.0, 0.0) == TrialScheduler.CONTINUE
    assert _report(scheduler, trials[1], 3.0, 0.5) == TrialScheduler.STOP


def test_trials_are_compared_within_their_seed(tmp_path):
    recorder = _recorder(study(seeds=[0, 1], reduction_factor=2), tmp_path / "journal.jsonl")
    scheduler = JournaledASHA(recorder, [])
    decisions = {}
    for index in range(2):
        for trial in recorder.add_trials(index, {"train.g_lr": 1e-3 * (index + 1)}):
            ours = _RaysTrial(trial.id)
            scheduler.on_trial_add(None, ours)
            # One seed is better than the other, and the later configuration than the earlier.
            decisions[trial.id] = _report(scheduler, ours, 1.0, 100.0 * trial.seed - index)
    assert set(decisions.values()) == {TrialScheduler.CONTINUE}


def test_a_trial_at_the_end_is_not_stopped(tmp_path):
    small = study(max_kimg=2.0)
    recorder = _recorder(small, tmp_path / "journal.jsonl")
    scheduler = JournaledASHA(recorder, [])
    trials = _begin(scheduler, recorder, 4)
    decisions = [_report(scheduler, t, 2.0, float(i)) for i, t in enumerate(trials)]
    assert decisions == [TrialScheduler.CONTINUE] * 4


def test_a_value_that_is_not_finite_is_the_worst(tmp_path):
    for mode in ("min", "max"):
        recorder = _recorder(study(mode=mode), tmp_path / f"{mode}.jsonl")
        scheduler = JournaledASHA(recorder, [])
        trials = _begin(scheduler, recorder, 4)
        values = [5.0, None, 6.0, None]
        decisions = [_report(scheduler, t, 1.0, v) for t, v in zip(trials, values, strict=True)]
        assert decisions[0] == TrialScheduler.CONTINUE
        assert decisions[1] == decisions[3] == TrialScheduler.STOP


def test_rungs_are_the_same_after_the_driver_was_killed(tmp_path):
    small = study(grace_kimg=1.0, reduction_factor=2, mode="max")
    values = random.Random(0)
    orders = [(kimg, i) for kimg in (1.0, 2.0, 4.0, 8.0) for i in range(10)]
    reports = [(kimg, i, values.random()) for kimg, i in orders]

    def run(path, killed_after):
        recorder = _recorder(small, path)
        scheduler = JournaledASHA(recorder, [])
        trials = _begin(scheduler, recorder, 10)
        decisions, alive = [], set(range(10))
        for count, (kimg, i, value) in enumerate(reports):
            if count == killed_after:
                before = scheduler.debug_string()
                recorder = _recorder(small, path)
                scheduler = JournaledASHA(recorder, read_journal(path))
                assert scheduler.debug_string() == before
                trials = [_RaysTrial(trial.config["trial"]["id"]) for trial in trials]
                for trial in trials:
                    scheduler.on_trial_add(None, trial)
                for past_kimg, j, past in reports[max(0, count - 5) : count]:
                    if j in alive:  # repeats what it reported since its checkpoint
                        _report(scheduler, trials[j], past_kimg, past)
                assert scheduler.debug_string() == before
            if i in alive:
                decisions.append((kimg, i, _report(scheduler, trials[i], kimg, value)))
                if decisions[-1][2] == TrialScheduler.STOP:
                    alive.discard(i)
        return decisions, scheduler.debug_string(), path.read_text().count("report")

    whole = run(tmp_path / "whole.jsonl", None)
    assert any(decision == TrialScheduler.STOP for *_, decision in whole[0])
    for killed_after in (3, 15, 28):
        assert run(tmp_path / f"{killed_after}.jsonl", killed_after) == whole


def test_a_trial_that_was_killed_before_its_stop_is_stopped_again(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for index, value in enumerate((1.0, 2.0)):
        for event in trial_events(index, {}, value):
            journal.append(event)
    scheduler = JournaledASHA(_recorder(study(), path), read_journal(path))
    trial = _RaysTrial("001-s0")
    scheduler.on_trial_add(None, trial)
    assert _report(scheduler, trial, 1.0, 2.0) == TrialScheduler.STOP
