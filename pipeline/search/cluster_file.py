"""Says what is wrong with a file for `ray up`, which itself finds out late or not at all.

`python -m pipeline.search.cluster_file infra/cluster.yaml`, from the project's folder.
"""

import argparse
import copy
import io
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from pipeline.config.yaml_file import read_mapping
from pipeline.core.errors import EXIT_USER_ERROR, UserError
from pipeline.search.ec2_request import node_mistakes

_PLACEHOLDER = re.compile(r"REPLACE_\w+|<[A-Za-z][\w -]*>")


def mistakes(path: Path, project: Path) -> list[str]:
    """All that is to be mended in a cluster file, a sentence each; none when it can be used.

    Asks no cloud: placeholders that were left in, what Ray's own schema refuses, settings that EC2
    does not have, and files to synchronise that `project`, from where `ray` is called, has not.
    Raises UserError when the file is not YAML.
    """
    content = read_mapping(path)
    found = _left_in(content) + _rays_mistakes(content)
    if _get(content, "provider", "type") == "aws":
        for name, node in _items(content.get("available_node_types")):
            place = f"available_node_types.{name}.node_config"
            settings = _get(node, "node_config")
            if isinstance(settings, dict):
                found += [f"{place}.{mistake}" for mistake in node_mistakes(settings)]
    return found + _missing_files(content, project)


def _left_in(content: Mapping[str, Any]) -> list[str]:
    places: dict[str, list[str]] = {}
    for key, value in _texts(content):
        for name in _placeholders(value):
            places.setdefault(name, []).append(key)
    found = []
    for name, keys in places.items():
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        found.append(f"the placeholder {name} is left in {keys[0]}{more}; put your value there")
    return found


def _placeholders(text: str) -> list[str]:
    return sorted(set(_PLACEHOLDER.findall(text)))


def _rays_mistakes(content: dict[str, Any]) -> list[str]:
    # Ray's own check, not public: `ray up` calls it in this order.
    import click
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    if not isinstance(content.get("provider"), dict):
        return ["provider is missing; say at least `provider: {type: aws, region: ...}`"]
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # advice for Docker
            validate_config(prepare_config(copy.deepcopy(content)))
    except ValidationError as error:
        place = ".".join(map(str, error.absolute_path))
        return [f"{place + ': ' if place else ''}{error.message}"]
    except click.ClickException as error:
        return [error.message]
    except (ValueError, KeyError, NotImplementedError, ImportError) as error:
        return [str(error)]
    return []


def _missing_files(content: Mapping[str, Any], project: Path) -> list[str]:
    found = []
    for remote, local in _items(content.get("file_mounts")):
        if not (project / Path(str(local)).expanduser()).exists():
            found.append(
                f"file_mounts.{remote}: {local} does not exist here; call this and `ray` from the "
                "project's folder"
            )
    key = _get(content, "auth", "ssh_private_key")
    if isinstance(key, str) and not _placeholders(key) and not Path(key).expanduser().is_file():
        found.append(f"auth.ssh_private_key: {key} does not exist; name the key's file")
    return found


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All strings with the places where they stand."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _texts(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _texts(part, f"{key}[{index}]")
    elif isinstance(value, str):
        yield key, value


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _get(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.search.cluster_file",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="such as infra/cluster.yaml")
    path = parser.parse_args().file
    try:
        found = mistakes(path, Path.cwd())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    for mistake in found:
        print(f"error: {path}: {mistake}", file=sys.stderr)
    if found:
        sys.exit(EXIT_USER_ERROR)
    print(f"{path} can be used: ray up -y {path}")


if __name__ == "__main__":
    main()
