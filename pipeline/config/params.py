"""Reads `params.yaml` whole and turns every mistake in it into one sentence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from pipeline.config.extractors import INCEPTION, network_of
from pipeline.config.overrides import with_values
from pipeline.config.schema import (
    DataSection,
    EvaluateSection,
    ModelSection,
    ReferenceSection,
    ReportSection,
    RuntimeSection,
    Section,
    TrainSection,
)
from pipeline.config.search import SearchSection
from pipeline.config.system import resolve_system
from pipeline.core.errors import UserError
from pipeline.core.nearest import nearest_name

# Keys of `data`, and the sources that know such columns.
_COLUMNS = {
    "image_column": ("parquet",),
    "label_column": ("parquet", "webdataset", "cifar100"),
}


class Params(Section):
    """All of `params.yaml`."""

    data: DataSection = Field(default_factory=DataSection)
    reference: ReferenceSection = Field(default_factory=ReferenceSection)
    model: ModelSection = Field(default_factory=ModelSection)
    train: TrainSection = Field(default_factory=TrainSection)
    evaluate: EvaluateSection = Field(default_factory=EvaluateSection)
    report: ReportSection = Field(default_factory=ReportSection)
    runtime: RuntimeSection = Field(default_factory=RuntimeSection)
    search: SearchSection = Field(default_factory=SearchSection)

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        resolve_system(self.model, self.train, self.data.resolution)
        self._check_data()
        self._check_evaluation()
        needs_weights = INCEPTION in map(network_of, self.reference.extractors)
        if needs_weights and self.reference.inception_weights is None:
            raise ValueError(
                "reference.inception_weights is missing; the inception-v3-compat extractor "
                "needs a weights file there, or `download`"
            )
        return self

    def _check_evaluation(self) -> None:
        if self.evaluate.selection_seed == self.evaluate.seed:
            raise ValueError(
                f"evaluate.selection_seed = {self.evaluate.selection_seed} is evaluate.seed: the "
                "best snapshot would be reported on the samples that chose it; choose another"
            )

    def _check_data(self) -> None:
        data = self.data
        if data.source == "digits":
            unused = [key for key in ("path", *_COLUMNS) if getattr(data, key) is not None]
        else:
            unused = [
                key
                for key, sources in _COLUMNS.items()
                if getattr(data, key) is not None and data.source not in sources
            ]
        if unused:
            raise ValueError(f"data.{unused[0]} has no effect with source: {data.source}; unset it")
        if data.source != "digits" and data.path is None:
            raise ValueError(
                f"data.path is missing; source: {data.source} needs the images' place there"
            )
        if data.path == "download" and not data.source.startswith("cifar"):
            raise ValueError(
                f"data.path = 'download' is for cifar10 and cifar100, not for {data.source}"
            )


def load_params(
    path: str | Path = "params.yaml", values: Mapping[str, Any] | None = None
) -> Params:
    """Parses and checks the file; raises UserError naming the key, the value and the cure.

    `values`, by dotted keys such as `train.batch`, stand in place of the file's.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run this from the project's folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold sections such as `train:`, not {content!r}")
    return parse_params(with_values(content, values or {}), str(path))


def override(params: Params, values: Mapping[str, Any]) -> Params:
    """The parameters with other values at dotted keys; raises UserError as `load_params` does."""
    content = params.model_dump(exclude={"search"})
    changed = parse_params(with_values(content, values), "params.yaml")
    return changed.model_copy(update={"search": params.search})


def parse_params(content: Mapping[str, Any], origin: str) -> Params:
    """Checks nested sections that `origin` held; raises UserError as `load_params` does."""
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{origin}: {_explain(error)}") from None


def describe(*sections: type[Section]) -> str:
    """The keys of sections with their meaning and default, for `--help`."""
    lines = []
    for section in sections:
        name = section.__name__.removesuffix("Section").lower()
        lines.append(f"{name}: {(section.__doc__ or '').strip()}")
        for key, field in section.model_fields.items():
            default = field.get_default(call_default_factory=True)
            if field.is_required():
                stated = key
            elif isinstance(default, BaseModel):
                stated = f"{key}: ..."
            else:
                stated = f"{key} = {'null' if default is None else default}"
            lines.append(f"  {stated:<36} {field.description}")
        lines.append("")
    return "\n".join(lines)


def _explain(error: ValidationError) -> str:
    details = error.errors(include_url=False)
    first = details[0]
    more = f" (and {len(details) - 1} more mistakes)" if len(details) > 1 else ""
    key = ".".join(str(part) for part in first["loc"])
    value = first["input"]
    if first["type"] == "extra_forbidden":
        return f"unknown key `{key}`{_nearest(first['loc'])}{more}"
    if first["type"] == "value_error":
        place = f"{key}: " if len(first["loc"]) > 2 else ""  # the sections name their own keys
        return f"{place}{first['ctx']['error']}{more}"
    if not key:
        return f"{first['msg']}{more}"
    expected = first["msg"][0].lower() + first["msg"][1:]
    return f"`{key}` = {value!r} is not valid: {expected}{_meaning(first['loc'])}{more}"


def _nearest(location: tuple[int | str, ...]) -> str:
    valid = list(_fields(location[:-1]))
    elsewhere = [
        f"{section}.{location[-1]}"
        for section, field in Params.model_fields.items()
        if str(location[-1]) in _section(field.annotation).model_fields
    ]
    if elsewhere:
        return f"; it belongs at `{elsewhere[0]}`"
    nearest = nearest_name(str(location[-1]), valid)
    prefix = "".join(f"{part}." for part in location[:-1])
    if nearest:
        return f"; the nearest valid key is `{prefix}{nearest}`"
    return f"; valid keys are {', '.join(f'`{prefix}{name}`' for name in valid)}"


def _meaning(location: tuple[int | str, ...]) -> str:
    fields = _fields(location[:-1])
    field = fields.get(str(location[-1])) if len(location) > 1 else None
    return f" ({field.description})" if field is not None and field.description else ""


def _fields(location: tuple[int | str, ...]) -> dict[str, Any]:
    """The fields of the section at a place; none where there is no section."""
    found: Any = Params
    for part in location:
        if isinstance(found, type) and issubclass(found, BaseModel):
            field = found.model_fields.get(str(part))
            found = None if field is None else field.annotation
        else:  # sections by name
            found = next(iter(get_args(found)[1:]), None)
    is_section = isinstance(found, type) and issubclass(found, BaseModel)
    return dict(found.model_fields) if is_section else {}


def _section(annotation: Any) -> type[BaseModel]:
    return annotation
