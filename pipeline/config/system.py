"""The system that a configuration trains: its variant, and where its keys depart from it."""

from dataclasses import dataclass
from typing import Any

from models.architecture import check_attention, discriminator_sizes, generator_sizes
from models.variants import OPTIONS, System, resolve
from pipeline.config.schema import ModelSection, TrainSection


@dataclass(frozen=True, kw_only=True)
class ResolvedSystem:
    """A system with every choice made."""

    system: System
    departures: dict[str, tuple[Any, Any]]
    """By key of params.yaml: what it says, and what the variant would."""


def resolve_system(model: ModelSection, train: TrainSection, resolution: int) -> ResolvedSystem:
    """Reads the variant and the keys that differ from it.

    Raises ValueError that names the key, for what contradicts the variant, has no effect, or does
    not fit the resolution or the batch.
    """
    overrides = {
        **{key: _frozen(value) for key, value in model if key in OPTIONS},
        **{key: value for key, value in train if key in OPTIONS},
    }
    try:
        system, departures = resolve(model.variant, resolution, overrides)
    except ValueError as error:
        raise ValueError(_with_sections(str(error), resolution)) from None
    for key, name, sizes in (
        ("g_attention", "generator", generator_sizes(resolution)),
        ("d_attention", "discriminator", discriminator_sizes(resolution)),
    ):
        try:
            check_attention(name, getattr(system, key), sizes)
        except ValueError as error:
            raise ValueError(
                f"model.{key} = {list(getattr(system, key))}: at data.resolution {resolution} "
                f"{error}"
            ) from None
    if system.bn_statistics == "ghost" and train.batch % system.bn_ghost_batch != 0:
        raise ValueError(
            f"train.batch = {train.batch} does not divide into ghost batches of model."
            f"bn_ghost_batch = {system.bn_ghost_batch}; make it a multiple, or set "
            "model.bn_ghost_batch to a divisor of the batch"
        )
    return ResolvedSystem(
        system=system,
        departures={_with_section(key): values for key, values in departures.items()},
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _with_section(key: str) -> str:
    return f"model.{key}" if key in ModelSection.model_fields else f"train.{key}"


def _with_sections(sentence: str, resolution: int) -> str:
    """Keys of a sentence of `models.variants`, as params.yaml writes them."""
    keys = {key: _with_section(key) for key in (*OPTIONS, "variant")}
    words = [keys.get(word, word) for word in sentence.split(" ")]
    return " ".join(words).replace(f"resolution {resolution}", f"data.resolution {resolution}")
