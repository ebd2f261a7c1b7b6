"""What Ray's workers take over from where their job was started."""

import os
import pickle

import pytest

from pipeline.core.errors import UserError
from pipeline.distributed.ray.cluster import DriverEnv


def test_a_worker_takes_over_what_its_node_does_not_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there")
    monkeypatch.setenv("AWS_REGION", "far")
    monkeypatch.setenv("OTHER_VARIABLE", "here")
    sent = pickle.dumps(DriverEnv.here("tune.py"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://own")
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("OTHER_VARIABLE")
    pickle.loads(sent).apply()
    assert os.getcwd() == str(tmp_path)
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://own"
    assert os.environ.pop("AWS_REGION") == "far"
    assert "OTHER_VARIABLE" not in os.environ


def test_a_node_without_the_folder_is_named(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    env = DriverEnv.here("the stage")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").rmdir()
    with pytest.raises(UserError, match=r"node \S+ has no folder .*gone, where the stage started"):
        env.apply()
