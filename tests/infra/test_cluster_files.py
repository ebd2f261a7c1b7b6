"""The files for `ray up`: Ray's own schema, EC2's model of a request, and what nodes get."""

import copy
import json
import re
import subprocess
import tomllib
from pathlib import Path

import boto3
import jsonschema
import pytest
import ray
import yaml
from botocore.exceptions import ParamValidationError
from botocore.stub import Stubber

from tests.support.project import ROOT

FILES = ("cluster.yaml", "cluster-onprem.yaml")
SCHEMA = json.loads(
    Path(ray.__file__).with_name("autoscaler").joinpath("ray-schema.json").read_text()
)
NODE = ("available_node_types", "gpu_worker", "node_config")


def _text(name):
    return (ROOT / "infra" / name).read_text(encoding="utf-8")


def _filled_in(name):
    """The file's content with a value for each placeholder."""
    return yaml.safe_load(re.sub(r"REPLACE_WITH_\w+", "a-value", _text(name)))


def _changed(content, *keys, value):
    content = inner = copy.deepcopy(content)
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return content


def _request_instance(node_config):
    """Builds the EC2 request for a node; nothing is sent."""
    client = boto3.client(
        "ec2", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(client) as stub:
        stub.add_response("run_instances", {})
        client.run_instances(**node_config, MinCount=1, MaxCount=1)


@pytest.mark.parametrize("name", FILES)
def test_a_filled_in_file_follows_rays_schema(name):
    jsonschema.validate(_filled_in(name), SCHEMA)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("idle_timeout",), 5),
        (("max_workers",), "many"),
        (("available_node_types", "head", "resources"), {"CPU": 0.5}),
    ],
)
def test_rays_schema_refuses_mistakes(keys, value):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(_changed(_filled_in("cluster.yaml"), *keys, value=value), SCHEMA)


def test_head_is_one_of_the_node_types():
    content = _filled_in("cluster.yaml")
    assert content["provider"]["type"] == "aws"
    assert content["head_node_type"] in content["available_node_types"]


def test_local_provider_has_its_addresses():
    content = _filled_in("cluster-onprem.yaml")
    assert set(content["provider"]) == {"type", "head_ip", "worker_ips"}
    assert set(content["auth"]) == {"ssh_user", "ssh_private_key"}


def test_ec2_takes_every_nodes_settings():
    for node in _filled_in("cluster.yaml")["available_node_types"].values():
        _request_instance(node["node_config"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("InstanceTypo", "g6.xlarge"),
        ("BlockDeviceMappings", [{"Ebs": {"VolumeSize": "200"}}]),
        ("InstanceMarketOptions", {"MarketTyp": "spot"}),
    ],
)
def test_ec2_refuses_mistakes(key, value):
    content = _changed(_filled_in("cluster.yaml"), *NODE, key, value=value)
    with pytest.raises(ParamValidationError):
        _request_instance(content["available_node_types"]["gpu_worker"]["node_config"])


@pytest.mark.parametrize("name", FILES)
def test_a_comment_says_what_each_placeholder_stands_for(name):
    placeholders = set(re.findall(r"REPLACE_WITH_\w+", _text(name)))
    assert len(placeholders) >= 4
    explained = set(re.findall(r"^#   (REPLACE_WITH_\w+)  +\w", _text(name), re.MULTILINE))
    assert explained == placeholders
    assert f"grep -n REPLACE_ infra/{name} " in _text(name)


def test_cost_is_bounded():
    content = yaml.safe_load(_text("cluster.yaml"))
    nodes = content["available_node_types"]
    worker = nodes["gpu_worker"]
    assert worker["min_workers"] == 0
    assert worker["max_workers"] <= content["max_workers"]
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert content["idle_timeout_minutes"] <= 30
    for node in nodes.values():
        assert "Arn" in node["node_config"]["IamInstanceProfile"]
        tagged = {tags["ResourceType"] for tags in node["node_config"]["TagSpecifications"]}
        assert tagged == {"instance", "volume"}
    assert "aws_secret" not in _text("cluster.yaml").lower()


def test_nodes_get_every_folder_that_runs_there():
    mounts = [yaml.safe_load(_text(name))["file_mounts"] for name in FILES]
    assert mounts[0] == mounts[1]
    assert all(remote == f"~/sagan-lab/{local}" for remote, local in mounts[0].items())
    assert all((ROOT / local).exists() for local in mounts[0].values())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    top = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    # `ray submit` brings tune.py.
    elsewhere = {"tests", "benchmarks", "docs", "reports", ".ci", ".dvc", "tune.py"}
    files = {".dvcignore", ".gitignore", ".dockerignore", "Makefile", "pyproject.toml", "dvc.lock"}
    prose = {"README.md", "CONTRIBUTING.md", "LICENSE"}
    assert top - elsewhere - files - prose == set(mounts[0].values())


@pytest.mark.parametrize("name", FILES)
def test_dependencies_are_the_lock(name):
    commands = yaml.safe_load(_text(name))["setup_commands"]
    assert "bash ~/sagan-lab/infra/set-up-node.sh" in commands
    assert not any("pip install" in command for command in commands)
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = [d for d in project["dependencies"] if "==" in d]
    assert pinned
    assert {re.sub(r"\[.*\]", "", pin) for pin in pinned} <= set(lock)
    # What `ray job submit` needs beyond bare Ray.
    assert any(line.startswith("aiohttp-cors==") for line in lock)
