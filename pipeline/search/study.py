"""A study that is ready to run, made from `params.yaml` and the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.params import Params, override
from pipeline.config.search import StudySection, change_study
from pipeline.core.errors import UserError
from pipeline.core.nearest import nearest_name
from pipeline.data.shards.manifest import Manifest
from pipeline.runs.run_folder import code_digest
from pipeline.runs.settings import runtime_settings, train_settings
from pipeline.search.metric import default_metric, evaluated_metrics, needs_images
from pipeline.search.space import Config, corners
from pipeline.training.settings import check_batch, check_shares

# Settings that may change when a study is resumed.
_CHANGEABLE = {"num_trials", "workers_per_trial", "resources_per_worker", "max_concurrent"}


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study's section of `params.yaml` with what all trials share; see `make_study`."""

    name: str
    section: StudySection
    params: Params
    """Of all trials."""
    metric: str
    shards: str
    """A folder, or `s3://bucket/prefix`."""
    reference: str
    """The folder of the reference statistics."""
    dataset_digest: str

    @property
    def num_seeds(self) -> int:
        """Runs of each configuration."""
        return len(self.section.seeds)

    @property
    def is_evaluated(self) -> bool:
        """Whether the metric needs generated images."""
        return needs_images(self.metric)

    def trial_params(self, config: Mapping[str, Any], seed: int) -> Params:
        """The parameters of one trial; raises UserError for an invalid configuration."""
        section = self.section
        own: Config = {
            "train.seed": seed,
            "train.total_kimg": section.max_kimg,
            # Each report has its checkpoint: a stopped trial continues from there.
            "runtime.checkpoint_kimg": section.report_kimg,
            "runtime.experiment": f"{self.params.runtime.experiment}-{self.name}",
        }
        if self.is_evaluated:
            own["train.eval_kimg"] = section.report_kimg
        return override(self.params, {**config, **own})

    def identity(self) -> dict[str, Any]:
        """JSON values that decide the study's results; with other ones it is another study.

        More trials, other resources and other numbers of workers continue the same study.
        """
        params = self.params.model_dump(include={"data", "reference", "model", "train"})
        return {
            "study": self.name,
            "section": self.section.model_dump(exclude=_CHANGEABLE),
            "metric": self.metric,
            "params": params,
            "dataset_digest": self.dataset_digest,
            "code_digest": code_digest(),
        }


@dataclass(frozen=True, kw_only=True)
class Request:
    """The command line's changes to a study."""

    study: str
    num_trials: int | None = None
    max_kimg: float | None = None
    seeds: Sequence[int] | None = None
    smoke: bool = False
    """Whether to use the budget of `search.smoke`, as a study of its own."""


def find_section(params: Params, request: Request) -> StudySection:
    """The study's section with the request's changes.

    Raises UserError for an unknown name, with the nearest one, and for contradictory values.
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
            "workers_per_trial": 1,  # two cores are enough, whatever the study needs
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

    Raises UserError for an unknown metric, and one that lists all combinations of the space that
    the model, the data or the number of workers does not allow.
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
                f"study {study.name}: metric = {study.metric} is not among the metrics of "
                f"reference.extractors = {study.params.reference.extractors}; choose "
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


def study_folder(name: str, root: Path = Path("reports/studies")) -> Path:
    """Where a study keeps its journal and results."""
    return root / name
