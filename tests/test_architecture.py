"""The house's rules: which room imports which, and who owns each heavy dependency."""

from pathlib import Path

import pytest
import yaml

from tests.import_closure import ROOT, import_closure, imported_modules

MAY_IMPORT = {
    "models": {"models"},
    "pipeline": {"models", "pipeline"},
    "stages": {"pipeline", "stages"},
}
OWNERS = {
    "pyarrow": "pipeline/data/",
    "sklearn": "pipeline/data/sources/",
    "mlflow": "pipeline/tracking/",
    "torch_fidelity": "pipeline/evaluation/",
    "torchvision": "pipeline/evaluation/",
    "onnxruntime": "pipeline/evaluation/",
    "matplotlib": "pipeline/reporting/",
    "jinja2": "pipeline/reporting/",
    "pydantic": "pipeline/config/",
    "yaml": "pipeline/config/",
    "boto3": "pipeline/storage/",
    "botocore": ("pipeline/storage/", "pipeline/search/ec2_request.py"),
    "ray": ("pipeline/launching/", "pipeline/search/"),
    "optuna": "pipeline/search/",
}
LIGHT = {"torch", "numpy", "pyarrow", "safetensors", "PIL", "psutil", "tqdm"}


def _files(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def _roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported_modules(path)}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_one_way(room):
    files = _files(room)
    assert files
    for path in files:
        ours = _roots(path) & {"models", "pipeline", "stages", "tests", "benchmarks", "tune"}
        assert ours <= MAY_IMPORT[room], f"{path} imports {ours - MAY_IMPORT[room]}"


def test_models_need_torch_alone():
    import sys

    for path in _files("models"):
        foreign = _roots(path) - {"models", "torch"} - sys.stdlib_module_names
        assert not foreign, f"{path} imports {foreign}"


@pytest.mark.parametrize("dependency", OWNERS)
def test_heavy_dependencies_have_one_owner(dependency):
    users = {str(p.relative_to(ROOT)) for p in _files(*MAY_IMPORT) if dependency in _roots(p)}
    strangers = {user for user in users if not user.startswith(OWNERS[dependency])}
    assert not strangers


def test_training_loop_runs_with_light_packages_alone():
    import sys

    for file in import_closure("pipeline.training.loop"):
        heavy = _roots(ROOT / file) - {"models", "pipeline"} - LIGHT - sys.stdlib_module_names
        assert not heavy, f"{file} imports {heavy}"


def _stages() -> dict:
    return yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.mark.parametrize("stage", ["shard", "reference", "train", "evaluate", "report"])
def test_dvc_deps_are_the_real_imports(stage):
    deps = set(_stages()[stage]["deps"])
    listed = {dep for dep in deps if dep.endswith(".py")}
    expected = set(import_closure(f"stages.{stage}"))
    assert listed == expected, f"python -m tests.import_closure {stage} prints what to list"
    assert _stages()[stage]["cmd"].startswith(f"python -m stages.{stage} ")


def test_dvc_lists_the_files_that_the_report_reads():
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "pipeline" / "reporting").iterdir()
        if path.is_file() and path.suffix != ".py"
    }
    assert files
    assert files <= set(_stages()["report"]["deps"])


def test_no_stage_depends_on_runtime():
    params = [param for stage in _stages().values() for param in stage["params"]]
    assert "runtime" not in params
    assert sorted(params) == ["data", "evaluate", "model", "reference", "report", "train"]


def test_run_key_covers_the_code_that_decides_weights():
    from pipeline.training.run_key import RESULT_SOURCES

    covered = {str(p.relative_to(ROOT)) for pattern in RESULT_SOURCES for p in ROOT.glob(pattern)}
    decisive = set()
    for module in (
        "pipeline.training.steps",
        "pipeline.training.state",
        "pipeline.data.order",
        "pipeline.training.randomness",
        "pipeline.training.snapshot",
    ):
        decisive |= set(import_closure(module))
    display_and_storage = {
        "pipeline/__init__.py",
        "pipeline/errors.py",
        "pipeline/storage/atomic.py",
        "pipeline/training/settings.py",
    }
    assert decisive - display_and_storage <= covered


def test_python_without_the_packages_is_told_where_they_are(tmp_path):
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-S", "-m", "stages.train"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "make setup" in done.stderr
    assert "Traceback" not in done.stderr
