"""What every section of `params.yaml` is made of."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

# YAML 1.1 reads 2e-4 (no dot, no signed exponent) as a string; researchers write it all the time.
_SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def _read_scientific(value: object) -> object:
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value


Float = Annotated[float, BeforeValidator(_read_scientific)]
"""A float, in any notation that researchers write."""


class Section(BaseModel):
    """A frozen section that refuses unknown keys and does not convert types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
