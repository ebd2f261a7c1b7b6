"""Private names of libraries: CONTRIBUTING lists them, and an upgrade without one fails here."""

import ast
import importlib
import re
from functools import cache

import pytest
import torch

from tests.support.project import ROOT

# Documented names and our own: `os._exit`, methods of named tuples, a type of the standard library.
_PUBLIC = {"_exit", "_make", "_replace", "_asdict", "_HANDLER"}


@cache
def _used():
    """By file: the private names of libraries that it imports or reads."""
    files = [ROOT / "tune.py"]
    for folder in ("models", "pipeline", "stages", "benchmarks"):
        files += sorted((ROOT / folder).rglob("*.py"))
    found = {str(file.relative_to(ROOT)): _private_names(file) for file in files}
    return {file: names for file, names in found.items() if names}


def _private_names(file):
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "cls")
    }
    names = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and node.attr not in own:
            names.add(node.attr)
    private = {name for name in names if re.search(r"(^|\.)_(?!\w+__$)", name)}
    return private - _PUBLIC


@cache
def _listed():
    """Rows of CONTRIBUTING's table: the names, and the file that uses them."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("## Private interfaces")[1]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return [(re.findall(r"`([^`]+)`", row[0]), row[1].strip("` "), row[-1]) for row in rows]


def test_contributing_lists_every_private_name():
    for file, names in _used().items():
        listed = {name for row, user, _ in _listed() if user == file for name in row}
        missing = {name for name in names if not any(row.endswith(name) for row in listed)}
        assert not missing, f"{file} uses {missing}; use a public name, or add a row and a guard"


def test_contributing_lists_nothing_else():
    for names, file, guard in _listed():
        code = (ROOT / file).read_text(encoding="utf-8")
        for name in names:
            assert name.split(".")[-1] in code, f"{file} does not use {name} any more"
        tests = re.findall(r"`([\w/]+\.py)`", guard)
        assert tests
        assert all((ROOT / test).exists() for test in tests), guard


@pytest.mark.parametrize(
    ("module", "name", "cure"),
    [
        ("torch", "_foreach_norm", "take the norms one by one"),
    ],
)
def test_private_names_exist(module, name, cure):
    assert hasattr(importlib.import_module(module), name), (
        f"{module} has no {name} any more; {cure}"
    )


def test_torch_has_the_convolution_with_relu():
    """Without it extraction is slower, and its numbers are those of other kernels."""
    for name in ("_reorder_convolution_weight", "_convolution_pointwise"):
        assert hasattr(torch.ops.mkldnn, name), (
            f"torch.ops.mkldnn has no {name} any more; FoldedConvolution falls back to conv2d"
        )
    assert callable(torch.ops.mkldnn._is_mkldnn_bf16_supported)


def test_ray_marks_submitted_jobs_by_this_variable():
    constants = importlib.import_module("ray._private.runtime_env.constants")
    name = getattr(constants, "RAY_JOB_CONFIG_JSON_ENV_VAR", None)
    assert name == "RAY_JOB_CONFIG_JSON_ENV_VAR", (
        "Ray calls the variable that `ray job submit` sets otherwise; change ray/cluster.py"
    )
