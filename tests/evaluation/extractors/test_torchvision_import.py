"""torchvision is imported as it is wherever it can be, and mended only where it cannot."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.project import ROOT

_PROGRAM = """
import torch
from pipeline.evaluation.extractors import torchvision_import
import_torch_fidelity = torchvision_import.import_torch_fidelity
import_torchvision = torchvision_import.import_torchvision
import_torchvision()
print("schemas", hasattr(torch.ops.torchvision, "nms"))
"""


def _run(program: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT)))},
        capture_output=True,
        text=True,
        check=False,
    )


def test_torch_fidelity_imports_without_a_warning() -> None:
    program = _PROGRAM + "print(import_torch_fidelity('metric_fid').KEY_METRIC_FID)"
    run = _run(program)
    assert run.stderr == ""
    assert run.stdout.split() == ["schemas", "True", "frechet_inception_distance"]


def test_a_fitting_torchvision_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").touch()
    run = _run(_PROGRAM, tmp_path)
    assert (run.stdout, run.stderr) == ("schemas False\n", "")


def test_other_failures_of_its_import_are_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    content = "raise RuntimeError('compiled for another CUDA')"
    (tmp_path / "torchvision" / "__init__.py").write_text(content)
    run = _run(_PROGRAM, tmp_path)
    assert run.returncode == 1
    assert "RuntimeError: compiled for another CUDA" in run.stderr
