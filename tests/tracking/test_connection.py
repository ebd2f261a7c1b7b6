"""Addresses of stores, and four processes that create one at the same time."""

import sqlite3
import subprocess
import sys

import pytest

from pipeline.core.errors import UserError
from pipeline.tracking.connection import reason, resolve_uri, without_credentials
from pipeline.tracking.run_description import flatten
from tests.support.processes import environment

PROGRAM = """
import sys
from pathlib import Path
from pipeline.tracking.mlflow import MlflowTracker
from pipeline.tracking.run_description import RunDescription

name = sys.argv[1]
description = RunDescription(
    run_name=name, total_nimg=20, params={"name": name}, tags={"run_key": name}, dataset=None
)
tracker = MlflowTracker(
    Path("runs") / name, description, uri=None, experiment="sagan", close_s=200
)
for nimg in range(1, 21):
    tracker.log({"loss/d": float(nimg)}, nimg, 0.0)
tracker.close("finished")
"""


def test_four_processes_at_once_on_a_fresh_store(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, f"run{i}"],
            cwd=tmp_path,
            env=environment() | {"MLFLOW_TRACKING_URI": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for i in range(4)
    ]
    outputs = [process.communicate(timeout=240)[0].decode() for process in processes]
    assert outputs == [""] * 4
    assert [process.returncode for process in processes] == [0] * 4
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        counted = store.execute(
            "select r.name, r.status, count(*) from metrics m join runs r using (run_uuid) "
            "where m.key = 'loss/d' group by r.name, r.status order by r.name"
        ).fetchall()
    store.close()
    assert counted == [(f"run{i}", "FINISHED", 20) for i in range(4)]


def test_address_is_the_named_one_else_the_sdks_else_local(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert resolve_uri("sqlite:///named.db") == f"sqlite:///{tmp_path}/named.db"
    assert resolve_uri(None) == "http://server:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert resolve_uri(None) == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize("uri", ["htp://server", "./mlruns", "file:///mlruns", "server:5000"])
def test_address_without_a_store_is_the_users_mistake(uri, monkeypatch):
    with pytest.raises(UserError, match=r"runtime\.tracking_uri"):
        resolve_uri(uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI"):
        resolve_uri(None)


def test_credentials_are_not_shown():
    uri = "https://me:se@cret@host:5000/path?token=x"
    assert without_credentials(uri) == "https://host:5000/path"
    assert without_credentials("sqlite:////a/b.db") == "sqlite:////a/b.db"


def test_reason_is_the_bottom_of_a_chain_in_one_line():
    bottom = ConnectionRefusedError(111, "Connection\n refused")
    top = ValueError("long " * 100)
    top.__cause__ = bottom
    assert reason(top) == "[Errno 111] Connection refused"
    assert reason(TimeoutError()) == "TimeoutError"


def test_params_are_flattened():
    assert flatten({"a": {"b": {"c": 1e-8}, "d": None}, "e": True, "f": (16, 32)}) == {
        "a/b/c": "1e-08",
        "a/d": "None",
        "e": "True",
        "f": "[16, 32]",
    }
