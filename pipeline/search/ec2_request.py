"""What Amazon EC2 will not take of a node's settings, by the service's own model in botocore."""

import difflib
from collections.abc import Mapping
from typing import Any

# Ray's own key, from which it takes a SubnetId for each request.
_RAYS = {"SubnetIds"}
# Ray gives these with every request.
_GIVEN = {"MinCount": 1, "MaxCount": 1}


def node_mistakes(node_config: Mapping[str, Any]) -> list[str]:
    """Keys and types that a RunInstances request would be refused for; asks no server."""
    # Here, not above: loading them takes a moment, which who has no cluster there need not wait.
    import botocore.session
    import botocore.validate

    model = botocore.session.get_session().get_service_model("ec2")
    shape = model.operation_model("RunInstances").input_shape
    request = {key: value for key, value in node_config.items() if key not in _RAYS}
    report = botocore.validate.ParamValidator().validate({**request, **_GIVEN}, shape)
    return [_sentence(*error) for error in report._errors]


def _sentence(kind: str, place: str, details: Mapping[str, Any]) -> str:
    place = place.lstrip(".")
    if kind == "unknown field":
        name, valid = details["unknown_param"], details["valid_names"]
        key = f"{place}.{name}" if place else name
        nearest = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
        hint = (
            f"the nearest valid key is {nearest[0]}" if nearest else f"keys are {', '.join(valid)}"
        )
        return f"{key} is no setting of an EC2 instance; {hint}"
    if kind == "invalid type":
        types = ", ".join(str(name).split("'")[1] for name in details["valid_types"])
        return f"{place} = {details['param']!r} must be of type {types}"
    if kind == "missing required field":
        key = details["required_name"]
        return f"{f'{place}.' if place else ''}{key} is missing"
    return f"{place}: {kind} {dict(details)}"
