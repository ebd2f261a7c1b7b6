"""The `search` section of `params.yaml`: studies as data."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.config.schema import Float, ModelSection, Section, TrainSection
from pipeline.core.errors import UserError
from pipeline.core.nearest import nearest_name

# What a study has keys of its own for.
_OWN_KEYS = {
    "train.seed": "seeds",
    "train.total_kimg": "max_kimg",
    "train.eval_kimg": "report_kimg",
}
_SPACE_KEYS = [
    key
    for section, fields in (("model", ModelSection), ("train", TrainSection))
    for key in (f"{section}.{name}" for name in fields.model_fields)
    if key not in _OWN_KEYS
]


class Range(Section):
    """The values of one key: exactly one of these."""

    loguniform: list[Float] | None = Field(
        None, min_length=2, max_length=2, description="bounds of a log-uniform range"
    )
    uniform: list[Float] | None = Field(
        None, min_length=2, max_length=2, description="bounds of a uniform range"
    )
    choice: list[Any] | None = Field(None, min_length=1, description="values to choose from")
    grid: list[Any] | None = Field(None, min_length=1, description="values that are all tried")

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "a key of a space has one of loguniform, uniform, choice and grid, "
                f"not {' and '.join(given) or 'none'}"
            )
        if self.bounds is not None:
            low, high = self.bounds
            if not low < high:
                raise ValueError(f"{given[0]}: [{low:g}, {high:g}] is empty; give the lower first")
            if self.loguniform is not None and low <= 0:
                raise ValueError(f"loguniform: [{low:g}, {high:g}] needs bounds above 0")
        return self

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The two ends of a continuous range; None for discrete values."""
        ends = self.loguniform or self.uniform
        return None if ends is None else (ends[0], ends[1])

    @property
    def values(self) -> list[Any]:
        """The discrete values; none for a continuous range."""
        return self.choice or self.grid or []


class StudySection(Section):
    """One study: its search space, budget and scheduler."""

    space: dict[str, Range] = Field(
        min_length=1, description="keys of model and train, such as train.g_lr, with their values"
    )
    params: dict[str, Any] = Field(
        {}, description="other keys of this file, the same for all trials"
    )
    searcher: Literal["grid", "random", "tpe"] = Field(
        description="grid: every combination; tpe: Optuna's sampler, from results of earlier trials"
    )
    scheduler: Literal["none", "asha"] = Field(
        "none", description="asha: trials that are behind stop early"
    )
    num_trials: int | None = Field(
        None, ge=1, description="configurations, each trained with each seed; null: the whole grid"
    )
    max_kimg: Float = Field(gt=0, description="length of a trial: thousands of real images")
    report_kimg: Float = Field(gt=0, description="interval of the values that are compared, kimg")
    grace_kimg: Float | None = Field(
        None, gt=0, description="asha: the first rung; null: report_kimg"
    )
    reduction_factor: Float = Field(
        3, gt=1, description="asha: one in this many trials at a rung goes on to the next"
    )
    seeds: list[int] = Field(
        [0], min_length=1, description="seeds of training of each configuration"
    )
    seed: int = Field(0, ge=0, description="seed of the searcher")
    metric: str | None = Field(
        None, description="key of the status records; null: fid2k of the first extractor"
    )
    mode: Literal["min", "max"] = Field(
        "min", description="whether lower or higher values are better"
    )
    workers_per_trial: int = Field(1, ge=1, description="processes that train one trial")
    resources_per_worker: dict[str, Float] = Field(
        {}, description="resources of each in Ray, fractions too: {CPU: 4, GPU: 0.5}; {}: 1 CPU"
    )
    max_concurrent: int | None = Field(
        None,
        ge=1,
        description="maximum number of trials at a time; null: as many as resources allow",
    )

    @property
    def first_rung_kimg(self) -> float:
        """Length at which trials are first compared."""
        return self.report_kimg if self.grace_kimg is None else self.grace_kimg

    def mistakes(self) -> list[str]:
        """Contradictions, each a sentence that starts with a key of the study."""
        found = [f"space: {sentence}" for sentence in map(_check_key, self.space) if sentence]
        continuous = [key for key, values in self.space.items() if values.bounds is not None]
        grids = [key for key, values in self.space.items() if values.grid is not None]
        if self.searcher == "grid" and continuous:
            found.append(
                f"space: {continuous[0]} has a continuous range, which searcher: grid cannot go "
                "through; give it `grid: [...]`, or choose random or tpe"
            )
        if self.searcher != "grid" and grids:
            found.append(
                f"space: {grids[0]} has a grid, which searcher: {self.searcher} does not go "
                "through; write `choice:`, or searcher: grid"
            )
        if self.searcher != "grid" and self.num_trials is None:
            found.append(f"num_trials is missing; searcher: {self.searcher} has no end of its own")
        if len(set(self.seeds)) < len(self.seeds):
            found.append(f"seeds = {self.seeds} repeat; give each once")
        if self.report_kimg > self.first_rung_kimg or self.first_rung_kimg > self.max_kimg:
            found.append(
                f"report_kimg = {self.report_kimg:g}, grace_kimg = {self.first_rung_kimg:g} and "
                f"max_kimg = {self.max_kimg:g} must not fall from one to the next"
            )
        return found


class SmokeSection(Section):
    """Values of `tune.py --smoke` instead of a study's own: minutes on two cores."""

    params: dict[str, Any] = Field(
        {"model.g_width": 4, "model.d_width": 8, "train.batch": 32},
        description="keys of this file, the same for all trials",
    )
    num_trials: int = Field(8, ge=2, description="maximum number of configurations")
    max_kimg: Float = Field(3.2, gt=0, description="length of a trial, kimg")
    report_kimg: Float = Field(0.8, gt=0, description="interval of reports, kimg")
    seeds: list[int] = Field([0, 1], min_length=1, description="seeds")


class SearchSection(Section):
    """Studies by name; read by `tune.py`."""

    studies: dict[str, StudySection] = Field({}, description="what `tune.py --study` can run")
    smoke: SmokeSection = Field(
        default_factory=SmokeSection, description="the budget of `tune.py --smoke`"
    )

    @model_validator(mode="after")
    def _check_studies(self) -> Self:
        found = [
            f"search.studies.{name}.{mistake}"
            for name, study in self.studies.items()
            for mistake in study.mistakes()
        ]
        if found:
            raise ValueError("; and ".join(found))
        return self


def change_study(name: str, section: StudySection, changes: Mapping[str, Any]) -> StudySection:
    """The section with changes; raises UserError for invalid values."""
    return parse_study(name, {**section.model_dump(), **changes})


def parse_study(name: str, content: Mapping[str, Any]) -> StudySection:
    """The section from JSON values; raises UserError for invalid ones."""
    try:
        section = StudySection.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(
            f"study {name}: {key} = {first['input']!r} is not valid: {first['msg']}"
        ) from None
    if mistakes := section.mistakes():
        raise UserError(f"study {name}: {'; and '.join(mistakes)}")
    return section


def _check_key(key: str) -> str | None:
    if key in _SPACE_KEYS:
        return None
    if key in _OWN_KEYS:
        return f"{key} is not searched over; a study says it as `{_OWN_KEYS[key]}`"
    nearest = nearest_name(key, _SPACE_KEYS)
    hint = f"the nearest valid key is `{nearest}`" if nearest else "keys are model.* and train.*"
    return f"unknown key `{key}`; {hint}"
