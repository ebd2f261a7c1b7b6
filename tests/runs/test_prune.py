"""Listing and pruning of run folders."""

import os

from pipeline.runs.prune import list_runs, prune_runs
from pipeline.runs.run_folder import open_run_folder, run_folder


def test_prunes_the_oldest_that_nobody_uses(tmp_path):
    for age, key in enumerate(("a" * 64, "b" * 64, "c" * 64)):
        folder = run_folder(tmp_path, key)
        with open_run_folder(folder, {"key": key}):
            (folder / "stats.jsonl").write_text("{}\n")
            os.utime(folder / "stats.jsonl", (1000 - age, 1000 - age))
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / f"checkpoint-{age:09d}.pt").touch()
    assert [run.path.name[0] for run in list_runs(tmp_path)] == ["a", "b", "c"]
    assert [run.newest_nimg for run in list_runs(tmp_path)] == [0, 1, 2]
    with open_run_folder(run_folder(tmp_path, "c" * 64), {"key": "c" * 64}):
        assert [run.path.name[0] for run in prune_runs(tmp_path, keep=1)] == ["b"]
    assert [run.path.name[0] for run in list_runs(tmp_path)] == ["a", "c"]
