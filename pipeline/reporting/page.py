"""Puts the report's page together: one file that needs nothing else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.reporting.attention_figure import HEAT_COLOURS, SIDE, AttentionFigure
from pipeline.reporting.charts import page_chart, vega_script
from pipeline.reporting.curves import Chart, line_chart
from pipeline.reporting.data_section import data_section
from pipeline.reporting.html import picture, render, script_data
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.metric_table import metric_table
from pipeline.reporting.numbers import count, duration, kimg, significant
from pipeline.reporting.paper_table import paper_table
from pipeline.reporting.published import read_published
from pipeline.reporting.samples import banner, class_rows, moments

_SHOWN_ELSEWHERE = ("class_names", "run_key", "dataset_digest")


@dataclass(frozen=True, kw_only=True)
class PageOptions:
    """How much the page shows."""

    samples_per_class: int
    """Generated images of each class."""
    real_per_class: int
    """Real images of each class."""


def render_page(
    inputs: ReportInputs,
    charts: Sequence[Chart],
    attention: Sequence[AttentionFigure],
    options: PageOptions,
) -> str:
    """The page as HTML; every string that came with the data is escaped."""
    config, manifest = inputs.config, inputs.dataset.manifest
    strip, strip_scale = banner(inputs)
    return render(
        "report.html.j2",
        config=config,
        manifest=manifest,
        kimg=kimg(config["nimg"]),
        facts=_facts(inputs),
        banner=picture(strip, "Generated images, a class after the other"),
        banner_scale=strip_scale,
        table=metric_table(inputs.metrics, inputs.protocol),
        paper=paper_table(
            read_published(),
            config.get("variant", ""),
            inputs.metrics,
            inputs.protocol,
            manifest,
        ),
        class_rows=class_rows(inputs, options.samples_per_class, options.real_per_class),
        num_classes=len(manifest.class_names),
        scale=max(1, 64 // manifest.resolution),
        large_scale=max(1, SIDE // manifest.resolution),
        moments=moments(inputs),
        charts=[
            (chart, page_chart(line_chart(chart), line_chart(chart, interactive=True)))
            for chart in charts
        ],
        vega_script=vega_script,
        attention=attention,
        gammas=_gammas(inputs),
        palette=script_data(HEAT_COLOURS),
        settings=_settings(config),
        environment=_flat(inputs.environment),
        commit=inputs.environment.get("git_commit"),
        data=data_section(inputs.dataset),
        source=_flat(manifest.source),
        preprocessing=_flat(manifest.preprocessing),
        count=count,
    )


def _facts(inputs: ReportInputs) -> list[tuple[str, str]]:
    config, train = inputs.config, inputs.dataset.manifest.splits["train"]
    facts = [("System", config["variant"])] if "variant" in config else []
    facts.append(
        ("Training images", f"{count(train.rows)} real, {count(len(train.class_counts))} classes")
    )
    facts.append(("Length", f"{kimg(config['nimg'])} kimg"))
    if inputs.statuses:
        facts.append(("Time", duration(inputs.statuses[-1].elapsed_s)))
    for key, name in (
        ("generator_parameters", "Generator"),
        ("discriminator_parameters", "Discriminator"),
    ):
        if isinstance(config.get(key), int):
            facts.append((name, f"{count(config[key])} parameters"))
    sizes = sorted(inputs.attention.maps)
    where = ", ".join(f"{size}x{size}" for size in sizes) or "none"
    facts.append(("Attention in G", where))
    departures = config.get("departures", {})
    if departures:
        facts.append(("Departs from it in", ", ".join(departures)))
    return facts


def _gammas(inputs: ReportInputs) -> Mapping[int, str]:
    """The last known factor of the generator's attention at each feature size."""
    prefix = "attention/g_gamma_"
    return {
        int(name.removeprefix(prefix)): significant(value)
        for status in inputs.statuses
        for name, value in status.metrics.items()
        if name.startswith(prefix)
    }


def _settings(config: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(section, its keys and values); the scalars of `config.json` make the first section."""
    sections: dict[str, list[tuple[str, str]]] = {"run": []}
    for key, value in config.items():
        if key in _SHOWN_ELSEWHERE:
            continue
        if isinstance(value, Mapping):
            for name, text in _flat(value):
                section, _, rest = name.rpartition(" ")
                sections.setdefault(section or key, []).append((rest or name, text))
        else:
            sections["run"].append((key, _text(value)))
    return [(name, rows) for name, rows in sections.items() if rows]


def _flat(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key} ")
        else:
            rows.append((f"{prefix}{key}", _text(value)))
    return rows


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
