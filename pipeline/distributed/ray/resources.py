"""Resources as Ray counts them: amounts by name, of a node or of a worker's reservation."""

from collections.abc import Mapping

from pipeline.core.errors import UserError

Resources = Mapping[str, float]


def reserved(amounts: Resources, setting: str) -> dict[str, float]:
    """What a worker reserves: the amounts that are not 0; one CPU where none is given.

    Raises UserError when that is nothing; `setting` is the key with the value that the user gave.
    """
    if any(amount < 0 for amount in amounts.values()) or (amounts and not any(amounts.values())):
        raise UserError(
            f"{setting} reserves nothing; give positive amounts, such as {{CPU: 1}} or "
            "{CPU: 2, GPU: 0.5}"
        )
    return {name: amount for name, amount in amounts.items() if amount} or {"CPU": 1}


def num_fitting(bundle: Resources, resources: Resources) -> int:
    """How many times `bundle` is there in `resources`."""
    return min(int(resources.get(name, 0) / amount + 1e-9) for name, amount in bundle.items())


def resources_text(resources: Resources) -> str:
    """`{CPU: 4, GPU: 1}`, without memory and Ray's own names of nodes."""
    own = {n: a for n, a in sorted(resources.items()) if ":" not in n and "memory" not in n}
    return "{" + ", ".join(f"{name}: {amount:g}" for name, amount in own.items()) + "}"
