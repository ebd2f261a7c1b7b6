"""Labels as files write them become numbers with names."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError


def number_labels(
    values: Sequence[int | str | None], names: Sequence[str] | None, path: str
) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    """Labels int32 [N] and the names of the classes.

    Numbers index `names`; without names each number that occurs is a class, in their order, and so
    is each text. A missing label, and -1, which the hub writes for one, becomes -1. Raises
    UserError for a number without a name, and for numbers among texts.
    """
    known = {value for value in values if value is not None and value != -1}
    if names is not None:
        strange = sorted(v for v in known if not isinstance(v, int) or not 0 <= v < len(names))
        if strange:
            raise UserError(
                f"data.path: {path} has label {strange[0]!r}, but names of {len(names)} classes"
            )
        labels = [-1 if value is None else int(value) for value in values]
        return np.array(labels, np.int32), tuple(names)
    if len({isinstance(value, int) for value in known}) > 1:
        raise UserError(f"data.path: {path} has both numbers and texts for labels; use one kind")
    order = {value: index for index, value in enumerate(sorted(known))}
    labels = [order.get(value, -1) if value is not None else -1 for value in values]
    return np.array(labels, np.int32), tuple(str(value) for value in order)
