"""Studies on full disks: of the run folders, and of the study's own folder."""

import subprocess

import pytest

from pipeline.core.errors import UserError
from pipeline.search.journal import Journal, read_journal
from pipeline.search.study_folder import open_study_folder
from tests.support.study_project import end

REPORTS_KIMG = [0.08, 0.16, 0.24, 0.32, 0.4, 0.48]


def _enlarge(folder):
    subprocess.run(["mount", "-o", "remount,size=100m", str(folder)], check=True)


def _assert_complete(project):
    trials = project.results()["trials"]
    assert [trial["status"] for trial in trials] == ["complete"] * 2
    for trial in trials:
        assert [kimg for kimg, _ in trial["reports"]] == pytest.approx(REPORTS_KIMG)


@pytest.mark.slow
def test_trials_on_a_full_disk_continue_when_there_is_space(make_project, joined, mount_disk):
    project = make_project("runs", space={"train.g_lr": {"grid": [1e-4, 4e-4]}})
    mount_disk(project.folder / "runs", "900k")
    code, output = end(project.start())
    failed = [t for t in project.results()["trials"] if t["status"] == "failed"]
    assert failed
    assert code == (2 if len(failed) == 2 else 0), output
    assert "Traceback" not in output
    for trial in failed:
        assert "no room" in trial["message"]
        assert "run the same command to go on" in trial["message"]
    _enlarge(project.folder / "runs")
    project.finish()
    _assert_complete(project)


def test_a_study_without_space_for_its_journal_continues(make_project, joined, mount_disk):
    project = make_project("study", space={"train.g_lr": {"grid": [1e-4, 4e-4]}})
    mount_disk(project.folder / "reports", "32k")
    code, output = end(project.start())
    assert code == 2, output
    assert "Traceback" not in output
    assert "has no room left" in output
    assert "free some, then run the same command to go on" in output
    assert read_journal(project.study / "journal.jsonl")
    _enlarge(project.folder / "reports")
    project.finish()
    _assert_complete(project)


def test_an_event_without_space_leaves_the_journal_whole(tmp_path, mount_disk):
    mount_disk(tmp_path / "disk", "8k")
    path = tmp_path / "disk" / "journal.jsonl"
    journal = Journal(path)
    journal.append({"event": "a", "id": "x"})
    with pytest.raises(OSError, match="No space left"):
        journal.append({"event": "b", "id": "x" * 10_000})
    journal.append({"event": "c", "id": "x"})
    assert [event["event"] for event in read_journal(path)] == ["a", "c"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "reports").write_text("in its place")
    with (
        pytest.raises(UserError, match=r"reports/small cannot be written: Not a directory"),
        open_study_folder(tmp_path / "reports" / "small", {"identity": {}, "section": {}}),
    ):
        pass
