"""Puts a study's page together: one file that needs nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.reporting.charts import PageChart, vega_script
from pipeline.reporting.html import render
from pipeline.reporting.numbers import count, significant
from pipeline.reporting.published import read_published
from pipeline.reporting.studies.paper_order import paper_orders
from pipeline.reporting.studies.paper_table import paper_table
from pipeline.reporting.studies.rows import (
    config_rows,
    counted,
    interval_text,
    trial_rows,
)
from pipeline.search.metric import Measurement
from pipeline.search.recommendation import recommended
from pipeline.search.results import (
    StudyResults,
    is_finished,
    num_expected,
    rungs_kimg,
    values_of,
    varied,
)
from pipeline.search.space import short_keys, trial_name

_INTERVALS = (
    "Intervals are Student's t over seeds: they cover other seeds, not other data. In the "
    "difference from the best, seed by seed, common effects of a seed cancel; the best was "
    "chosen by these values, so its mean is biased."
)


@dataclass(frozen=True, kw_only=True)
class StudyCharts:
    """The charts of a study's page; None or empty where there is nothing to show."""

    curves: PageChart | None
    maps: tuple[PageChart, ...]
    bars: PageChart | None


@dataclass(frozen=True, kw_only=True)
class _Best:
    name: str
    value: str
    interval: str
    interval_note: str
    caution: str
    commands: str


def render_study(results: StudyResults, described: Mapping[str, Any], charts: StudyCharts) -> str:
    """The page as HTML; `described` is the study's `study.json`."""
    measured = Measurement.of_json(described.get("measured"))
    orders = paper_orders(results, read_published())
    return render(
        "study.html.j2",
        name=results.study,
        metric=results.metric,
        better="lower" if results.mode == "min" else "higher",
        lead=_lead(results),
        unfinished="" if is_finished(results) else _unfinished(results),
        facts=_facts(results, measured),
        best=_best(results, described),
        interval_method=_INTERVALS if len(results.section["seeds"]) > 1 else _one_seed(),
        num_seeds=len(results.section["seeds"]),
        charts=charts,
        vega_script=vega_script,
        configurations=config_rows(results),
        paper=paper_table(results, measured, read_published()),
        orders=orders,
        no_order=_no_order(results) if not orders else "",
        rungs=rungs_kimg(results.section),
        trials=trial_rows(results),
        footer=_footer(results),
    )


def _lead(results: StudyResults) -> str:
    names = short_keys(varied(results)).values()
    section = results.section
    how = {
        "grid": "every combination",
        "random": "drawn at random",
        "tpe": "proposed by TPE from what earlier ones reached",
    }[section["searcher"]]
    stops = {
        "none": "Each was trained to its end.",
        "asha": "Those that were behind at a rung stopped early (ASHA).",
    }[section["scheduler"]]
    return f"Configurations that differ in {' and '.join(names)}, {how}. {stops}"


def _unfinished(results: StudyResults) -> str:
    over = sum(trial.is_over for trial in results.trials)
    return (
        f"{over} of {num_expected(results)} trials are over. This page shows only these; "
        "the same command continues the study."
    )


def _facts(results: StudyResults, measured: Measurement | None) -> list[tuple[str, str]]:
    section = results.section
    facts = [
        ("Trials", counted(results.trials) or "none yet"),
        ("Seeds", ", ".join(map(str, section["seeds"]))),
        ("Length of a trial", f"{section['max_kimg']:g} kimg"),
        ("Metric", results.metric),
    ]
    if measured is not None:
        facts.append(("Data", f"{measured.name}, {measured.resolution}x{measured.resolution}"))
        if measured.protocol:
            protocol = measured.protocol
            facts.append(
                (
                    "Measured on",
                    f"{count(protocol['num_generated'])} images of the {protocol['weights']} "
                    f"generator, {count(protocol['num_real'])} real ones",
                )
            )
    shared = section["params"]
    if shared:
        facts.append(("Set for all", trial_name(shared)))
    return facts


def _best(results: StudyResults, described: Mapping[str, Any]) -> _Best | None:
    best = results.best
    if best is None or best.value is None:
        return None
    found = recommended(described, best)
    values, num = values_of(best), sum(c.value is not None for c in results.configs)
    request = described.get("request", {})
    study = request.get("study", results.study)
    smoke = " --smoke" if request.get("smoke") else ""
    note = f"mean over {len(values)} seeds; 95 % interval by Student's t"
    return _Best(
        name=trial_name(best.config),
        value=significant(best.value, 4),
        interval=interval_text(best.ci95),
        interval_note=note if best.ci95 is not None else "one seed: no interval",
        caution=(
            f"It is the best of {num} by this value, which is therefore biased. The value was "
            "measured with the small protocol of the search; report the evaluation of a full "
            "training, on other samples."
        ),
        commands=(
            f"# writes it to params.yaml\npython tune.py --study {study}{smoke} --apply\n\n"
            f"# or trains and evaluates it beside what params.yaml says\n{found.exp_run}"
        ),
    )


def _one_seed() -> str:
    return "Each was trained with one seed, so the variance over seeds is unknown."


def _no_order(results: StudyResults) -> str:
    if varied(results) == ("model.variant",):
        return "Fewer than two of these systems have a value, so there is no order."
    return (
        "The paper has no order of these configurations: it varies the system alone, and "
        "this study varies other keys."
    )


def _footer(results: StudyResults) -> str:
    return (
        f"data set {results.dataset_digest[:12]}. results.json beside this page has all of it for "
        "programs."
    )
