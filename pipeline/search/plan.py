"""From `params.yaml` and the command line to a study that can be trained, or one that cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.params import Params, override
from pipeline.config.search import StudySection, change_study
from pipeline.core.errors import UserError
from pipeline.core.nearest import nearest_name
from pipeline.data.shards.manifest import Manifest
from pipeline.runs.settings import runtime_settings, train_settings
from pipeline.search.measurement import evaluated_metrics
from pipeline.search.space import corners
from pipeline.search.study import Study, default_metric
from pipeline.training.settings import check_batch, check_shares


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks of a study."""

    study: str
    num_trials: int | None = None
    max_kimg: float | None = None
    seeds: Sequence[int] | None = None
    smoke: bool = False
    """Whether the budget is `search.smoke`, and the study a rehearsal beside the real one."""


def find_section(params: Params, request: Request) -> StudySection:
    """The study's section with what the request changes.

    Raises UserError for an unknown name, with the nearest, and for what contradicts itself.
    """
    studies = params.search.studies
    if request.study not in studies:
        nearest = nearest_name(request.study, studies)
        hint = f"the nearest is {nearest}; " if nearest else ""
        known = ", ".join(studies) or "none; the project's own params.yaml has some"
        raise UserError(
            f"there is no study {request.study!r} in search.studies of params.yaml; {hint}"
            f"there are {known}"
        )
    changes: dict[str, Any] = {}
    section = studies[request.study]
    if request.smoke:
        smoke = params.search.smoke
        changes |= {
            "params": {**section.params, **smoke.params},
            "max_kimg": smoke.max_kimg,
            "report_kimg": min(smoke.report_kimg, request.max_kimg or smoke.max_kimg),
            "grace_kimg": None,
            "seeds": smoke.seeds,
            "num_trials": min(smoke.num_trials, section.num_trials or smoke.num_trials),
            "workers_per_trial": 1,  # whatever the study has: two cores are enough for it
            "resources_per_worker": {},
        }
    asked = {
        "num_trials": request.num_trials,
        "max_kimg": request.max_kimg,
        "seeds": None if request.seeds is None else list(request.seeds),
    }
    changes |= {key: value for key, value in asked.items() if value is not None}
    return change_study(request.study, section, changes)


def make_study(
    name: str,
    section: StudySection,
    params: Params,
    manifest: Manifest,
    shards: str,
    reference: str,
) -> Study:
    """The study on the data set of `manifest`.

    Raises UserError for a metric that there is not, and one that lists every combination of its
    space which the model, the data or the number of workers refuses.
    """
    base = override(params, section.params)
    metric = section.metric or default_metric(base)
    study = Study(
        name=name,
        section=section,
        params=base,
        metric=metric,
        shards=shards,
        reference=reference,
        dataset_digest=manifest.digest,
    )
    _check_metric(study)
    _check_combinations(study, manifest)
    return study


def _check_metric(study: Study) -> None:
    if study.is_evaluated:
        valid = evaluated_metrics(study.params.reference.extractors)
        if study.metric not in valid:
            choices = [key for key, (_, official) in valid.items() if official]
            raise UserError(
                f"study {study.name}: metric = {study.metric} is not among what "
                f"reference.extractors = {study.params.reference.extractors} gives; choose "
                f"{' or '.join(choices)}"
            )
        if not Path(study.reference).is_dir():
            raise UserError(
                f"{study.reference} does not exist, and {study.metric} needs it; `dvc repro "
                "reference` makes it, --reference names another"
            )


def _check_combinations(study: Study, manifest: Manifest) -> None:
    refused: dict[str, list[str]] = {}
    num_tried = 0
    for config in corners(study.section.space):
        num_tried += 1
        try:
            params = study.trial_params(config, study.section.seeds[0])
            settings = train_settings(params, manifest)
            check_shares(settings, runtime_settings(params, "cpu"), study.section.workers_per_trial)
            check_batch(settings.batch, manifest.splits["train"].rows)
        except UserError as error:
            reason = str(error).removeprefix("params.yaml: ")
            refused.setdefault(reason, []).append(_text(config))
    if refused:
        lines = [f"{'; '.join(configs)}: {reason}" for reason, configs in refused.items()]
        count = sum(map(len, refused.values()))
        raise UserError(
            f"study {study.name}: {count} of {num_tried} combinations of its space cannot be "
            "trained; take them out:\n" + "\n".join(lines)
        )


def _text(config: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in config.items())
