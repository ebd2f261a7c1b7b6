"""The outputs of a study, made from its journal: results, page, patch, DVC metrics, MLflow."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.search.journal import JOURNAL_NAME, Journal, Status, Trial
from pipeline.search.recommendation import PATCH_NAME, recommended
from pipeline.search.results import RESULTS_NAME, StudyResults, is_finished, varied, write_results
from pipeline.search.space import short_keys
from pipeline.search.study_folder import read_study
from pipeline.storage.atomic import write_json, write_text
from pipeline.storage.digest import digest_json
from pipeline.tracking.study import PREFIX, StudySummary, TrialSummary, sync_study
from pipeline.tracking.study_experiment import SEED_TAG, shown_address, study_view
from pipeline.tracking.tracker import Outcome

PAGE_NAME = "index.html"
OUTCOMES_NAME = "metrics.json"
_OUTCOMES: Mapping[Status, Outcome] = {"complete": "finished", "failed": "failed"}


def write_outputs(folder: Path) -> StudyResults:
    """Writes all outputs; called again it writes the same. The caller holds the folder's lock.

    MLflow errors are printed to stderr. Raises UserError for a folder without a study.
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
        [_trial_summary(trial) for trial in results.trials],
        uri=runtime["tracking_uri"],
        experiment=f"{runtime['experiment']}-{results.study}",
    )
    if synced.view is not None:
        print(f"MLflow: {shown_address(runtime['tracking_uri'])}{synced.view}")
    # Runs made only now, because the server did not answer during training.
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
    """The study's view in MLflow, for `prepare_experiment`; `space` as in params.yaml."""
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


def _trial_summary(trial: Trial) -> TrialSummary:
    return TrialSummary(
        id=trial.id,
        seed=trial.seed,
        status=trial.status,
        outcome=_OUTCOMES.get(trial.status, "preempted"),
        nimg=round(1000 * trial.kimg),
        value=trial.value,
        run_dir=None if trial.run_dir is None else Path(trial.run_dir),
    )


def write_outcomes(root: Path) -> None:
    """Writes `metrics.json` for `dvc exp show`: each study's best value and number of trials."""
    outcomes = {}
    for path in sorted(root.glob(f"*/{RESULTS_NAME}")):
        try:
            results = json.loads(path.read_text(encoding="utf-8"))
            outcomes[path.parent.name] = _outcome(results)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # discarded in this moment, or damaged: the study's next call writes it
    write_json(root / OUTCOMES_NAME, outcomes)


def _outcome(results: dict[str, Any]) -> dict[str, float]:
    best, metric, trials = results["best"], results["metric"], results["trials"]
    outcome: dict[str, float] = {}
    if best is not None:
        outcome[metric] = best["value"]
        if best["ci95"] is not None:
            low, high = best["ci95"]
            outcome |= {f"{metric}_ci95_low": low, f"{metric}_ci95_high": high}
    outcome["trials"] = len(trials)
    outcome["finished"] = sum(trial["status"] == "complete" for trial in trials)
    return outcome


def format_table(results: StudyResults) -> str:
    """Every trial as a line of plain text, and the best configuration below."""
    keys = list(results.section["space"])
    rows = [["trial", *keys, "seed", "status", "kimg", results.metric]]
    for trial in results.trials:
        value = "-" if trial.value is None else f"{trial.value:.4g}"
        settings = [_text(trial.config[key]) for key in keys]
        rows.append([trial.id, *settings, str(trial.seed), trial.status, f"{trial.kimg:g}", value])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    best = results.best
    if best is None:
        lines.append("no trial was trained to the end")
    else:
        interval = "" if best.ci95 is None else f", 95 % [{best.ci95[0]:.4g}, {best.ci95[1]:.4g}]"
        settings = [f"{key}={_text(best.config[key])}" for key in keys]
        lines.append(f"best: {' '.join(settings)}: {results.metric} {best.value:.4g}{interval}")
    failed = [trial for trial in results.trials if trial.status == "failed"]
    lines += [f"{trial.id} failed: {trial.message}" for trial in failed]
    return "\n".join(line.rstrip() for line in lines)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
