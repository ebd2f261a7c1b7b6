"""What `tune.py` does with its arguments."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pipeline
from pipeline.config.params import Params, load_params, parse_params
from pipeline.config.search import StudySection, parse_study
from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import Manifest
from pipeline.data.shards.reader import Dataset
from pipeline.data.shards.streaming import open_anywhere
from pipeline.jobs.study_outputs import PAGE_NAME, present, view_of
from pipeline.jobs.study_smoke import prepare_digits
from pipeline.search.cost import estimate
from pipeline.search.history import History, Trial, fold
from pipeline.search.journal import JOURNAL_NAME, Event, Journal, read_journal
from pipeline.search.measurement import measurement
from pipeline.search.plan import Request, find_section, make_study
from pipeline.search.proposals import num_configs, propose
from pipeline.search.recommendation import apply_to, recommendation
from pipeline.search.recorder import Recorder, trial_events
from pipeline.search.results import RESULTS_NAME, format_table, write_results
from pipeline.search.study import Study, study_folder
from pipeline.search.study_folder import STUDY_NAME, open_study_folder, read_study
from pipeline.tracking.study_runs import prepare_experiment, retire_trials

_SHOWN = 12  # lines of a dry run's sample of trials


@dataclass(frozen=True, kw_only=True)
class Command:
    """The arguments of `tune.py`."""

    request: Request
    values: Mapping[str, Any] = field(default_factory=dict)
    """In place of those in params.yaml, by dotted keys."""
    shards: str = "data/shards"
    reference: str = "data/reference"
    resume: bool = False
    """Whether to take all settings from the study's folder."""
    restart: bool = False
    """Whether to forget what there is of the study."""


def enter_project(folder: Path | None) -> None:
    """Makes the project's folder the working directory.

    It is `folder`, else the working directory, else where this package lies. Raises UserError when
    there is no `params.yaml`.
    """
    package = Path(pipeline.__path__[0]).resolve().parent
    places = [folder] if folder is not None else [Path.cwd(), package]
    for place in places:
        if (place / "params.yaml").is_file():
            os.chdir(place)
            return
    raise UserError(
        f"there is no params.yaml in {' or '.join(map(str, places))}; run this from the project's "
        "folder or name it with --project"
    )


def run(command: Command) -> None:
    """Runs a study to its end, from wherever an earlier call stopped, and prints its table.

    Raises UserError for mistakes, before anything starts, and Preempted after a signal.
    """
    study, dataset = _open_study(command)
    folder = study_folder(study.name)
    description = _describe(study, command, dataset.manifest)
    with open_study_folder(folder, description, command.restart) as forgotten:
        _retire(study, forgotten)
        events = read_journal(folder / JOURNAL_NAME)
        history = fold(events)
        try:
            if _is_finished(study, history):
                print(f"{folder} is finished")
            else:
                _begin(study, history)
                _drive(study, events, history, folder)
        finally:
            results = present(folder)
    print(format_table(results))
    print(f"{folder / RESULTS_NAME} and {PAGE_NAME}")
    if results.best is None and all(t.status == "failed" for t in results.trials):
        raise UserError(f"every trial of {study.name} failed; their reasons stand above")


def apply_best(command: Command) -> None:
    """Writes the study's best configuration to `params.yaml`, and prints what it wrote.

    Raises UserError where there is none, or where the file was changed in between.
    """
    folder = study_folder(_folder_name(command.request))
    found = recommendation(folder)
    differences = apply_to(Path("params.yaml"), found)
    print(found.patch(), end="")
    for difference in differences:
        print(f"note: {difference}", file=sys.stderr)
    print(f"params.yaml has the best of {folder}; `dvc repro` trains it. Beside it instead:")
    print(found.exp_run)


def dry_run(command: Command) -> None:
    """Prints the trials of a study, or a sample of them, and what they cost."""
    study, dataset = _open_study(command)
    history = History()
    while (config := propose(study, history)) is not None:
        for event in trial_events(study, history.num_configs, config):
            history.apply(event)
    trials = list(history.trials.values())
    for trial in trials[:_SHOWN]:
        settings = ", ".join(f"{key} = {value}" for key, value in trial.config.items())
        print(f"{trial.id}: {settings}, seed {trial.seed}")
    if len(trials) > _SHOWN:
        print(f"... and {len(trials) - _SHOWN} more")
    if study.section.searcher == "tpe":
        print("(tpe draws the later ones from what the earlier reach; these are an example)")
    cost = estimate(study, dataset, trials[0].config)
    if study.section.scheduler == "asha":
        print("(at most: asha stops those that are behind)")
    print(cost.describe())


def _open_study(command: Command) -> tuple[Study, Dataset]:
    request = command.request
    name = _folder_name(request)
    shards, reference = command.shards, command.reference
    if command.resume:
        params, section, paths = _stored(name)
        shards, reference = paths["shards"], paths["reference"]
    else:
        params = load_params(values=command.values)
        section = find_section(params, request)
        if request.smoke:
            params, shards, reference = prepare_digits(params)
    runtime = params.runtime
    if not shards.startswith("s3://") and not Path(shards).exists():
        raise UserError(
            f"{shards} does not exist; `dvc repro reference` makes {Command.shards} and what "
            "metrics compare with, --shards names other ones"
        )
    dataset = open_anywhere(shards, Path(runtime.cache_dir), runtime.cache_gb)
    return make_study(name, section, params, dataset.manifest, shards, reference), dataset


def _folder_name(request: Request) -> str:
    return f"{request.study}-smoke" if request.smoke else request.study


def _stored(name: str) -> tuple[Params, StudySection, dict[str, str]]:
    path = study_folder(name)
    stored = read_study(path)
    params = parse_params(stored["params"], str(path / STUDY_NAME))
    return params, parse_study(name, stored["section"]), stored["paths"]


def _describe(study: Study, command: Command, manifest: Manifest) -> dict[str, Any]:
    return {
        "identity": study.identity(),
        "section": study.section.model_dump(),
        "params": study.params.model_dump(exclude={"search"}),
        "paths": {"shards": study.shards, "reference": study.reference},
        "request": asdict(command.request),
        "measured": measurement(
            study.metric, study.params.reference.extractors, manifest
        ).to_json(),
    }


def _is_finished(study: Study, history: History) -> bool:
    if not all(t.is_over and not t.died for t in history.trials.values()):
        return False
    enough = history.num_configs >= num_configs(study)
    return enough or (bool(history.trials) and propose(study, history) is None)


def _begin(study: Study, history: History) -> None:
    over = sum(trial.is_over and not trial.died for trial in history.trials.values())
    total = num_configs(study) * study.num_seeds
    print(f"{study.name}: {total} trials by {study.metric}, {over} of them over")
    runtime = study.params.runtime
    if runtime.tracker == "mlflow":  # once here: processes that make the tables together all fail
        section = study.section.model_dump()
        view = view_of(study.metric, section["space"], section["mode"])
        prepare_experiment(runtime.tracking_uri, f"{runtime.experiment}-{study.name}", view)


def _retire(study: Study, forgotten: list[Event]) -> None:
    runtime = study.params.runtime
    ids = [trial.mlflow_run_id for trial in fold(forgotten).trials.values()]
    if runtime.tracker == "mlflow" and any(ids):
        retire_trials(runtime.tracking_uri, [id for id in ids if id is not None])


def _drive(study: Study, events: list[Any], history: History, folder: Path) -> None:
    from pipeline.search.drive import drive  # Ray takes seconds to import

    started = time.monotonic()

    def on_end(trial: Trial) -> None:
        write_results(folder)
        value = "no value" if trial.value is None else f"{study.metric} {trial.value:.4g}"
        over = sum(t.is_over for t in recorder.history.trials.values())
        print(
            f"{trial.id} {trial.status} at {trial.kimg:g} kimg, {value} ({over} over, "
            f"{time.monotonic() - started:.0f} s)",
            flush=True,
        )

    recorder = Recorder(study, Journal(folder / JOURNAL_NAME), history, on_end)
    recorder.retry_dead()
    drive(recorder, events, folder)
