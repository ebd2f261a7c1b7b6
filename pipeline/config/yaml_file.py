"""Reads a YAML file that is no `params.yaml`."""

from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import UserError


def read_mapping(path: Path) -> dict[str, Any]:
    """The file's top level by key.

    Raises UserError when it cannot be read, is not YAML or is not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold keys such as `cluster_name:`, not {content!r}")
    return content
