"""The commands of `tune.py`: run a study, estimate it, apply its best configuration."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pipeline
from pipeline.config.params import Params, load_params, override, parse_params
from pipeline.config.search import StudySection, parse_study
from pipeline.core.errors import UserError
from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.shards.manifest import Manifest
from pipeline.data.shards.reader import Dataset
from pipeline.data.shards.streaming import open_anywhere
from pipeline.data.sources.select import open_source
from pipeline.distributed.context import DistContext
from pipeline.distributed.devices import choose_device
from pipeline.jobs.reference import ReferencePaths, make_references_in_group
from pipeline.jobs.study_outputs import PAGE_NAME, format_table, view_of, write_outputs
from pipeline.search.cost import estimate
from pipeline.search.journal import (
    JOURNAL_NAME,
    Event,
    History,
    Journal,
    Recorder,
    Trial,
    fold,
    read_journal,
    trial_events,
)
from pipeline.search.metric import measurement
from pipeline.search.proposals import num_configs, propose
from pipeline.search.recommendation import apply_to, recommendation
from pipeline.search.results import RESULTS_NAME, write_results
from pipeline.search.study import Request, Study, find_section, make_study, study_folder
from pipeline.search.study_folder import STUDY_NAME, open_study_folder, read_study
from pipeline.tracking.study_experiment import prepare_experiment, retire_trials

_SHOWN = 12  # trials that a dry run prints
_SMOKE_FOLDER = Path("data/smoke")
DIGITS = {
    "data.source": "digits",
    "data.path": None,
    "data.classes": None,
    "data.limit": None,
    "data.resolution": 32,
    "data.channels": 1,
    "reference.extractors": ["dataset-cnn"],
}
"""Values of a `--smoke` study in place of those in params.yaml, by dotted keys."""


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
    """Whether to discard the study's journal first."""


def enter_project(folder: Path | None) -> None:
    """Changes the working directory to the project's folder, the first one with `params.yaml`.

    Candidates are `folder` if given, else the working directory and the folder of this package.
    Raises UserError when none has the file.
    """
    package = Path(pipeline.__path__[0]).resolve().parent
    candidates = [folder] if folder is not None else [Path.cwd(), package]
    for candidate in candidates:
        if (candidate / "params.yaml").is_file():
            os.chdir(candidate)
            return
    raise UserError(
        f"there is no params.yaml in {' or '.join(map(str, candidates))}; run this from the "
        "project's folder or name it with --project"
    )


def run(command: Command) -> None:
    """Runs a study to its end, from wherever an earlier call stopped, and prints its table.

    Raises UserError for mistakes, before anything starts, and Preempted after a signal.
    """
    study, dataset = _open_study(command)
    folder = study_folder(study.name)
    description = _describe(study, command, dataset.manifest)
    with open_study_folder(folder, description, command.restart) as discarded:
        _retire(study, discarded)
        events = read_journal(folder / JOURNAL_NAME)
        history = fold(events)
        try:
            if _is_finished(study, history):
                print(f"{folder} is finished")
            else:
                _begin(study, history)
                _drive(study, events, history, folder)
        finally:
            results = write_outputs(folder)
    print(format_table(results))
    print(f"{folder / RESULTS_NAME} and {PAGE_NAME}")
    if results.best is None and all(t.status == "failed" for t in results.trials):
        raise UserError(f"every trial of {study.name} failed, for the reasons above")


def apply_best(command: Command) -> None:
    """Writes the study's best configuration to `params.yaml`, and prints what it wrote.

    Raises UserError if there is none, or if the file was changed since the study began.
    """
    folder = study_folder(_folder_name(command.request))
    found = recommendation(folder)
    differences = apply_to(Path("params.yaml"), found)
    print(found.patch(), end="")
    for difference in differences:
        print(f"note: {difference}", file=sys.stderr)
    print(f"params.yaml has the best of {folder}; `dvc repro` trains it. As an experiment instead:")
    print(found.exp_run)


def dry_run(command: Command) -> None:
    """Prints the trials of a study, or the first of them, and an estimate of the cost."""
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
        print("(tpe draws later trials from the results of earlier ones; these are an example)")
    cost = estimate(study, dataset, trials[0].config)
    if study.section.scheduler == "asha":
        print("(at most: asha stops the trials that are behind)")
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
            params, shards, reference = _prepare_digits(params)
    runtime = params.runtime
    if not shards.startswith("s3://") and not Path(shards).exists():
        raise UserError(
            f"{shards} does not exist; `dvc repro reference` makes {Command.shards} and the "
            "reference statistics, --shards names other shards"
        )
    dataset = open_anywhere(shards, Path(runtime.cache_dir), runtime.cache_gb)
    return make_study(name, section, params, dataset.manifest, shards, reference), dataset


def _prepare_digits(params: Params) -> tuple[Params, str, str]:
    """Parameters, shards and reference statistics of a `--smoke` study; made where missing."""
    params = override(params, DIGITS)
    shards, reference = _SMOKE_FOLDER / "shards", _SMOKE_FOLDER / "reference"
    data, runtime = params.data, params.runtime
    if not (shards / "manifest.json").exists():
        print(f"making the shards of the digits in {shards}")
        write_dataset(
            open_source(data.source),
            shards,
            Preprocessing(resolution=data.resolution, channels=data.channels),
            heldout_fraction=data.heldout_fraction,
            shard_rows=data.shard_rows,
        )
    if not reference.is_dir():
        print(f"making the reference statistics of the digits in {reference}")
        make_references_in_group(
            params,
            ReferencePaths(shards=str(shards), out=reference),
            choose_device(runtime.device, runtime.num_threads),
            DistContext(),
        )
    return params, str(shards), str(reference)


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
    if runtime.tracker == "mlflow":  # here, once: processes that create the tables together fail
        section = study.section.model_dump()
        view = view_of(study.metric, section["space"], section["mode"])
        prepare_experiment(runtime.tracking_uri, f"{runtime.experiment}-{study.name}", view)


def _retire(study: Study, discarded: list[Event]) -> None:
    runtime = study.params.runtime
    ids = [trial.mlflow_run_id for trial in fold(discarded).trials.values()]
    if runtime.tracker == "mlflow" and any(ids):
        retire_trials(runtime.tracking_uri, [id for id in ids if id is not None])


def _drive(study: Study, events: list[Any], history: History, folder: Path) -> None:
    from pipeline.search.driver import drive  # Ray takes seconds to import

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
