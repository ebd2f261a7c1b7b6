"""Project folders in which the real tune.py runs as a process of its own."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.support.forks import Command
from tests.support.processes import kill_tree, wait_for

PATIENCE_S = 200
METRIC = "attention/g_gamma_16"
"""A function of the weights; losses are means since the last status, which may be a stop's."""


class StudyProject:
    """A folder with params.yaml, whose study is `small`, and shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study = folder / "reports" / "studies" / "small"
        self.started: list[Command] = []

    def start(self, *arguments: str) -> Command:
        """Starts `tune.py --study small`."""
        process = Command(self.folder, "tune", "--study", "small", *arguments)
        self.started.append(process)
        return process

    def change(self, section: str, **values: Any) -> None:
        """Sets keys of a section of params.yaml."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        params[section] |= values
        path.write_text(yaml.safe_dump(params))

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Returns when the condition holds, which needs the process that was started last."""
        wait_for(lambda: condition() or self.started[-1].poll() is not None, PATIENCE_S)
        if not condition():
            code, output = end(self.started[-1])
            pytest.fail(f"tune.py ended with {code}: {output}")

    def finish(self, *arguments: str) -> str:
        """Runs it to its end; what it printed."""
        code, output = end(self.start(*arguments))
        assert code == 0, output
        return output

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Events of a kind in the journal, so far."""
        path = self.study / "journal.jsonl"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        return json.loads((self.study / "results.json").read_text())

    def table(self) -> list[tuple]:
        """What a study found, without where and when."""
        return [
            (t["id"], t["config"], t["seed"], t["status"], t["kimg"], t["value"], t["reports"])
            for t in self.results()["trials"]
        ]


def end(process: Command) -> tuple[int, str]:
    """(exit code, output) of a process that ends by itself."""
    output, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, output


def trial_processes(context: list[psutil.Process], kind: str) -> list[psutil.Process]:
    """Those that Ray calls so: `ResourceTrainable` of main processes, `_peer` of the others."""
    found = []
    for process in context:
        try:
            if f"ray::{kind}" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture(scope="module")
def make_project(
    tmp_path_factory: pytest.TempPathFactory, digits_shards: Path, default_params: dict
) -> Iterator[Callable[..., StudyProject]]:
    """Makes project folders with a small study in float64; what is left at the end is killed."""
    made: list[StudyProject] = []

    def make(name: str, **changes: Any) -> StudyProject:
        folder = tmp_path_factory.mktemp(name)
        (folder / "data").mkdir()
        (folder / "data" / "shards").symlink_to(digits_shards)
        params = copy.deepcopy(default_params)
        params["model"] |= {"g_width": 2, "d_width": 2, "z_dim": 8}
        params["train"] |= {"batch": 16, "precision": "fp64", "snapshot_kimg": 10}
        params["runtime"] |= {"status_kimg": 0.08, "tracker": "none", "num_threads": 1}
        study = {
            "space": {"train.g_lr": {"grid": [1e-4, 4e-4, 1.6e-3]}},
            "searcher": "grid",
            "max_kimg": 0.48,
            "report_kimg": 0.08,
            "metric": METRIC,
        }
        params["search"] = {"studies": {"small": {**study, **changes}}}
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        made.append(StudyProject(folder))
        return made[-1]

    yield make
    for project in made:
        for process in project.started:
            kill_tree(process)
