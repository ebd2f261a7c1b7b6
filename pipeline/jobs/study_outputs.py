"""All that is made of a study's journal: results, page, patch, DVC's metrics, MLflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.search.history import Trial
from pipeline.search.journal import JOURNAL_NAME, Journal
from pipeline.search.outcomes import write_outcomes
from pipeline.search.ranking import is_finished, varied
from pipeline.search.recommendation import PATCH_NAME, recommended
from pipeline.search.results import RESULTS_NAME, StudyResults, write_results
from pipeline.search.study_folder import read_study
from pipeline.search.trial_name import short_keys
from pipeline.storage.atomic import write_text
from pipeline.storage.digest import digest_json
from pipeline.tracking.study import PREFIX, StudySummary, TrialRun, sync_study
from pipeline.tracking.study_runs import SEED_TAG, shown_address
from pipeline.tracking.study_view import study_view

PAGE_NAME = "index.html"


def present(folder: Path) -> StudyResults:
    """Writes it all, as often as one likes; for the driver that holds the folder.

    A tracking server that does not answer costs one line on stderr. Raises UserError for a folder
    that is no study.
    """
    from pipeline.reporting.studies.build import write_study_page  # takes seconds to import

    described = read_study(folder)
    results = write_results(folder)
    if results.trials:
        pictures = write_study_page(folder)
        if described["params"]["runtime"]["tracker"] == "mlflow":
            results = _track(folder, described, results, list(pictures.values()))
        if results.best is not None:
            write_text(folder / PATCH_NAME, recommended(described, results.best).patch())
    write_outcomes(folder.parent)
    return results


def _track(
    folder: Path, described: dict[str, Any], results: StudyResults, pictures: list[Path]
) -> StudyResults:
    from pipeline.reporting.studies.build import write_study_page

    runtime = described["params"]["runtime"]
    synced = sync_study(
        _summary(folder, described, results, pictures),
        [_trial_run(trial) for trial in results.trials],
        uri=runtime["tracking_uri"],
        experiment=f"{runtime['experiment']}-{results.study}",
    )
    if synced.view is not None:
        print(f"MLflow: {shown_address(runtime['tracking_uri'])}{synced.view}")
    # A run that was made only now, for its server was away while it was trained.
    known = {trial.id: trial.mlflow_run_id for trial in results.trials}
    new = {id: run_id for id, run_id in synced.run_ids.items() if known[id] != run_id}
    if not new:
        return results
    journal = Journal(folder / JOURNAL_NAME)
    for id, run_id in new.items():
        journal.append({"event": "tracked", "id": id, "mlflow_run_id": run_id})
    results = write_results(folder)
    write_study_page(folder)
    return results


def _summary(
    folder: Path, described: dict[str, Any], results: StudyResults, pictures: list[Path]
) -> StudySummary:
    over = sum(trial.is_over for trial in results.trials)
    metrics = {"trials": float(len(results.trials)), "over": float(over)}
    best = results.best
    if best is not None and best.value is not None:
        metrics["best"] = best.value
        if best.ci95 is not None:
            metrics |= {"best_ci95_low": best.ci95[0], "best_ci95_high": best.ci95[1]}
    section = results.section
    settings = ("searcher", "scheduler", "max_kimg", "report_kimg", "seeds", "mode")
    return StudySummary(
        name=results.study,
        identity=digest_json(described["identity"])[:12],
        is_finished=is_finished(results),
        num_over=over,
        written_s=(folder / JOURNAL_NAME).stat().st_mtime,
        params={
            "metric": results.metric,
            **{key: str(section[key]) for key in settings},
            **{f"space/{key}": _range(section["space"][key]) for key in varied(results)},
        },
        metrics=metrics,
        view=view_of(results.metric, section["space"], results.mode),
        files=[folder / RESULTS_NAME, folder / PAGE_NAME],
        pictures=pictures,
    )


def view_of(metric: str, space: Mapping[str, Mapping[str, Any]], mode: str) -> str:
    """The study's view in MLflow, for `prepare_experiment`; `space` as params.yaml has it."""
    names = short_keys(space)
    continuous = [
        names[key] for key, range in space.items() if range["loguniform"] or range["uniform"]
    ]
    return study_view(
        metric,
        [*names.values(), SEED_TAG],
        [metric, f"{PREFIX}kimg"],
        lower_is_better=mode == "min",
        plane=(continuous[0], continuous[1]) if len(continuous) > 1 else None,
    )


def _range(values: dict[str, Any]) -> str:
    return ", ".join(f"{kind} {value}" for kind, value in values.items() if value is not None)


def _trial_run(trial: Trial) -> TrialRun:
    return TrialRun(
        id=trial.id,
        seed=trial.seed,
        status=trial.status,
        nimg=round(1000 * trial.kimg),
        value=trial.value,
        run_dir=None if trial.run_dir is None else Path(trial.run_dir),
    )
