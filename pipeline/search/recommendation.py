"""The best configuration of a study as values for `params.yaml`."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.edit import edited, yaml_text
from pipeline.config.params import load_params
from pipeline.core.errors import UserError
from pipeline.search.results import ConfigResult, study_results
from pipeline.search.study_folder import read_study
from pipeline.storage.atomic import write_text

PATCH_NAME = "best.patch.yaml"
_SECTIONS = ("data", "model", "train")
# A study has keys of its own for these.
_OWN = ("train.seed", "train.total_kimg", "train.eval_kimg")


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The values of a study for `params.yaml`."""

    study: str
    values: Mapping[str, Any]
    """By dotted keys: the best configuration, and the study's `params` for all trials."""
    base: Mapping[str, Any]
    """The values of `data`, `model` and `train` that all trials shared, by dotted keys."""
    varied: tuple[str, ...]
    """Keys that the study searched over."""

    @property
    def assignments(self) -> str:
        """`-S train.g_lr=0.0001 ...`, quoted for a shell."""
        pairs = (f"{key}={yaml_text(value)}" for key, value in self.values.items())
        return " ".join(f"-S {shlex.quote(pair)}" for pair in pairs)

    @property
    def exp_run(self) -> str:
        """The command that trains and evaluates it as an experiment of DVC."""
        return f"dvc exp run -n {shlex.quote(self.study + '-best')} {self.assignments}"

    def patch(self) -> str:
        """The values as a part of `params.yaml`."""
        lines: list[str] = []
        sections: dict[str, dict[str, Any]] = {}
        for key, value in self.values.items():
            section, _, name = key.partition(".")
            sections.setdefault(section, {})[name] = value
        for section, content in sections.items():
            lines += [f"{section}:", *(f"  {k}: {yaml_text(v)}" for k, v in content.items())]
        return "\n".join(lines) + "\n"


def recommendation(folder: Path) -> Recommendation:
    """Raises UserError for a folder without a study, and for one without a finished trial."""
    best = study_results(folder).best
    if best is None:
        raise UserError(
            f"{folder} has no trial that was trained to its end with a value to apply; continue "
            "the study"
        )
    return recommended(read_study(folder), best)


def recommended(described: Mapping[str, Any], best: ConfigResult) -> Recommendation:
    """From `study.json` and the best configuration; without the small networks of `--smoke`."""
    is_smoke = described.get("request", {}).get("smoke", False)
    shared = {} if is_smoke else described["section"]["params"]
    own = {key: value for key, value in shared.items() if key.partition(".")[0] in _SECTIONS}
    base = described["identity"]["params"]
    return Recommendation(
        study=described["identity"]["study"],
        values={**own, **best.config},
        base={f"{s}.{k}": value for s in _SECTIONS for k, value in base[s].items()},
        varied=tuple(best.config),
    )


def apply_to(path: Path, found: Recommendation) -> list[str]:
    """Writes the values to `params.yaml` atomically; its comments and layout stay.

    Returns the other differences from the trials' settings, one sentence each. Raises UserError and
    leaves the file unchanged if a searched key was edited since the study began, or if the values
    contradict other keys of the file.
    """
    current = load_params(path).model_dump()
    conflicts = [
        f"{key} was {yaml_text(found.base[key])}, is {yaml_text(_at(current, key))} and would "
        f"become {yaml_text(found.values[key])}"
        for key in found.varied
        if _at(current, key) not in (found.base[key], found.values[key])
    ]
    if conflicts:
        raise UserError(
            f"{path} was changed since study {found.study} began: {'; '.join(conflicts)}; undo "
            "the change or enter the values by hand"
        )
    load_params(path, found.values)
    text = path.read_text(encoding="utf-8")
    changed = edited(text, found.values, str(path))
    if changed != text:
        write_text(path, changed)
    return [
        f"the trials had {key} = {yaml_text(value)}, {path} has {yaml_text(_at(current, key))}"
        for key, value in found.base.items()
        if key not in (*found.values, *_OWN) and _at(current, key) != value
    ]


def _at(content: Mapping[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    return content[section][name]
