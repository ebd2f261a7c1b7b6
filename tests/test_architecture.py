"""The order of packages, the owner of each heavy dependency, and the code that stages depend on."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import yaml

from tests.support.project import ROOT

ORDER = (
    "models",
    "pipeline/core",
    "pipeline/storage",
    "pipeline/config",
    "pipeline/data/sources",
    "pipeline/data/shards",
    "pipeline/data/ingest",
    "pipeline/data/loading",
    "pipeline/distributed",
    "pipeline/training",
    "pipeline/evaluation",
    "pipeline/tracking",
    "pipeline/runs",
    "pipeline/search",
    "pipeline/reporting",
    "pipeline/jobs",
    "stages",
    "tune.py",
)
"""Each imports of those before it alone, and of itself."""
OWNERS = {
    "pyarrow": "pipeline/data/",
    "sklearn": "pipeline/data/sources/",
    "mlflow": "pipeline/tracking/",
    "torch_fidelity": "pipeline/evaluation/",
    "torchvision": "pipeline/evaluation/",
    "onnxruntime": "pipeline/evaluation/",
    "altair": "pipeline/reporting/",
    "vl_convert": "pipeline/reporting/",
    "jinja2": "pipeline/reporting/",
    "pydantic": ("pipeline/config/", "pipeline/reporting/published.py"),
    "yaml": ("pipeline/config/", "pipeline/reporting/published.py"),
    "ruamel": "pipeline/config/",
    "boto3": "pipeline/storage/",
    "botocore": "pipeline/storage/",
    "ray": ("pipeline/distributed/ray/", "pipeline/search/"),
    "optuna": "pipeline/search/",
}
LIGHT = {"torch", "numpy", "pyarrow", "safetensors", "PIL", "psutil", "tqdm"}
"""What training needs."""


@cache
def _files() -> dict[str, list[str]]:
    """By path: the dotted names that each Python file of the program imports."""
    paths = [ROOT / "tune.py"]
    for folder in ("models", "pipeline", "stages"):
        paths += sorted((ROOT / folder).rglob("*.py"))
    return {str(path.relative_to(ROOT)): _imported(path) for path in paths}


def _imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def _file_of(name: str) -> str | None:
    """The file of ours that a dotted name, of a module or of something in one, leads to."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        path = "/".join(parts[:end])
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if file in _files():
                return file
    return None


def _package(file: str) -> str | None:
    return next((each for each in ORDER if file == each or file.startswith(f"{each}/")), None)


def _roots(file: str) -> set[str]:
    return {name.split(".")[0] for name in _files()[file]}


def test_every_file_belongs_to_a_package():
    # `pipeline/__init__.py` is the public interface, and finds what it exports by name.
    stray = {file for file in _files() if _package(file) is None}
    assert stray == {"pipeline/data/__init__.py", "pipeline/__init__.py"}


def test_packages_import_one_way():
    for file, names in _files().items():
        own = _package(file)
        for name in names:
            other = _file_of(name)
            if own is None or other is None or (package := _package(other)) is None:
                continue
            assert ORDER.index(package) <= ORDER.index(own), f"{file} imports {name}"
        assert not _roots(file) & {"tests", "benchmarks"}, file


def test_no_file_is_in_a_cycle():
    graph = {
        file: {_file_of(name) for name in names} - {None, file} for file, names in _files().items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_models_need_torch_alone():
    for file in _files():
        if _package(file) == "models":
            others = _roots(file) - {"models", "torch"} - sys.stdlib_module_names
            assert not others, f"{file} imports {others}"


@pytest.mark.parametrize("dependency", OWNERS)
def test_heavy_dependencies_have_one_owner(dependency):
    users = {file for file in _files() if dependency in _roots(file)}
    others = {user for user in users if not user.startswith(OWNERS[dependency])}
    assert not others


def test_training_needs_light_packages_alone():
    queue = [f for f in _files() if f.startswith(("pipeline/training/", "pipeline/data/loading/"))]
    seen = set()
    while queue:
        file = queue.pop()
        if file in seen:
            continue
        seen.add(file)
        heavy = _roots(file) - {"models", "pipeline"} - LIGHT - sys.stdlib_module_names
        assert not heavy, f"{file} imports {heavy}"
        queue += [other for name in _files()[file] if (other := _file_of(name)) is not None]


def _stages() -> dict:
    return yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def test_stages_depend_on_code_that_exists():
    for name, stage in _stages().items():
        code = {dep for dep in stage["deps"] if dep.startswith(("models", "pipeline"))}
        assert code, name
        assert all((ROOT / each).exists() for each in code), name


def test_run_key_and_reference_cache_name_the_code_of_their_stages():
    from pipeline.evaluation.reference import cache
    from pipeline.runs import run_folder

    stages = _stages()
    assert set(run_folder.RESULT_SOURCES) <= set(stages["train"]["deps"])
    assert set(cache.RESULT_SOURCES) <= set(stages["reference"]["deps"])


def test_no_stage_depends_on_runtime():
    params = [param for stage in _stages().values() for param in stage["params"]]
    assert sorted(params) == ["data", "evaluate", "model", "reference", "report", "train"]


def test_python_without_the_packages_names_the_command_that_installs_them():
    done = subprocess.run(
        [sys.executable, "-S", "-m", "stages.train"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "make setup" in done.stderr
    assert "Traceback" not in done.stderr
