"""A study whose run folders have no room left."""

import subprocess

import pytest

from tests.search.conftest import end


@pytest.fixture
def project(make_project, joined):
    """One whose run folders lie on a file system of less than two runs."""
    project = make_project("full", space={"train.g_lr": {"grid": [1e-4, 4e-4]}})
    folder = project.folder / "runs"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    yield project
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_trials_that_found_no_room_go_on_when_there_is_some(project):
    code, output = end(project.start())
    failed = [t for t in project.results()["trials"] if t["status"] == "failed"]
    assert failed
    assert code == (2 if len(failed) == 2 else 0), output
    assert "Traceback" not in output
    for trial in failed:
        assert "no room" in trial["message"]
        assert "run the same command to go on" in trial["message"]
    more = ["mount", "-o", "remount,size=100m", str(project.folder / "runs")]
    subprocess.run(more, check=True)
    project.finish()
    assert [t["status"] for t in project.results()["trials"]] == ["complete"] * 2
    kimgs = [kimg for t in project.results()["trials"] for kimg, _ in t["reports"]]
    assert kimgs == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4, 0.48] * 2)
