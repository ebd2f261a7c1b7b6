"""Setting a node up, with a lock of one small wheel in place of the project's."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.support.project import ROOT


def _wheel(folder, version):
    path = folder / f"tiny-{version}-py3-none-any.whl"
    info = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny.py", f"version = '{version}'\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"tiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")
    return path


@pytest.fixture
def node(tmp_path):
    """A folder with a home and the project in it; ends with a function that runs commands."""
    project = tmp_path / "home" / "sagan-lab"
    shutil.copytree(ROOT / "infra", project / "infra")

    def run(*command, **variables):
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={
                "HOME": str(tmp_path / "home"),
                "PATH": "/usr/bin:/bin",
                "PYTHON": sys.executable,
                **variables,
            },
            capture_output=True,
            text=True,
        )

    return project, run


def test_lock_is_installed_once_and_again_when_it_changes(node, tmp_path):
    project, run = node
    script = ("bash", str(project / "infra" / "set-up-node.sh"))
    for version in ("1.0", "1.1"):
        (project / "requirements.lock").write_text(f"{_wheel(tmp_path, version)}\n")
        assert run(*script).returncode == 0
        installed = os.stat(project / ".installed.lock").st_mtime_ns
        assert run(*script).returncode == 0
        assert os.stat(project / ".installed.lock").st_mtime_ns == installed
        # As Ray runs a command on a node.
        probe = "import tiny, sys; print(tiny.version, sys.prefix)"
        command = f"source ~/.bashrc; python -c '{probe}'; echo $PYTHONPATH $RAY_ADDRESS"
        login = run("bash", "--login", "-c", "-i", command)
        assert login.stdout.split() == [version, str(project / ".venv"), str(project), "auto"]
    assert (tmp_path / "home" / ".bashrc").read_text().count("environment.sh") == 1
    # The cluster file's own variables.
    (project / ".environment").write_text("export MLFLOW_TRACKING_URI=http://there:5000\n")
    login = run("bash", "--login", "-c", "-i", "source ~/.bashrc; echo $MLFLOW_TRACKING_URI")
    assert login.stdout == "http://there:5000\n"


def test_failed_installation_is_no_installation(node):
    project, run = node
    (project / "requirements.lock").write_text("/no/such/tiny-1.0-py3-none-any.whl\n")
    done = run("bash", str(project / "infra" / "set-up-node.sh"))
    assert done.returncode != 0
    assert not (project / ".installed.lock").exists()


def test_gpu_that_torch_cannot_use_is_told(node, tmp_path):
    project, run = node
    (project / "requirements.lock").write_text(f"{_wheel(tmp_path, '1.0')}\n")
    for name, text in {"nvidia-smi": "exit 0", "python3": f'exec {sys.executable} "$@"'}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    done = run("bash", str(project / "infra" / "set-up-node.sh"), PATH=path)
    assert done.returncode == 2
    assert "has a GPU that its torch cannot use" in done.stderr


def test_old_python_is_told(node, tmp_path):
    project, run = node
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = run("bash", str(project / "infra" / "set-up-node.sh"), PYTHON=str(old))
    assert done.returncode == 2
    assert "is not Python 3.11 or newer; set PYTHON" in done.stderr
    assert not (project / ".venv").exists()
