"""The files for `ray up`, and the program that checks them before Ray and a cloud do."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from pipeline.search.cluster_file import mistakes
from tests.support.project import ROOT

FILES = ("cluster.yaml", "cluster-onprem.yaml")
VALUES = {"REGION": "eu-central-1", "BUCKET": "s3://ours/sagan", "USER": "ray"}


def _text(name):
    return (ROOT / "infra" / name).read_text(encoding="utf-8")


@pytest.fixture
def fill_in(tmp_path):
    """Makes a copy of a file with a value for each placeholder, changed by a function."""

    def make(name, change=lambda content: None):
        key = tmp_path / "key"
        key.touch()
        values = {**VALUES, "PATH_OF_KEY": str(key)}
        text = re.sub(r"REPLACE_WITH_(\w+)", lambda m: values.get(m[1], "a-value"), _text(name))
        content = yaml.safe_load(text)
        change(content)
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content))
        return path

    return make


@pytest.mark.parametrize("name", FILES)
def test_placeholders_are_all_that_is_wrong(name):
    found = mistakes(ROOT / "infra" / name, ROOT)
    assert len(found) == len(set(re.findall(r"REPLACE_\w+", _text(name)))) >= 4
    assert all(sentence.startswith("the placeholder REPLACE_WITH_") for sentence in found)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_filled_in_can_be_used(name, fill_in):
    assert mistakes(fill_in(name), ROOT) == []


def _set(*keys, value):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


NODE = ("available_node_types", "gpu_worker", "node_config")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_set(*NODE, "InstanceTypo", value="g6.xlarge"), "the nearest valid key is InstanceType"),
        (
            _set(*NODE, "BlockDeviceMappings", value=[{"Ebs": {"VolumeSize": "200"}}]),
            "node_config.BlockDeviceMappings[0].Ebs.VolumeSize = '200' must be of type int",
        ),
        (
            _set(*NODE, "InstanceMarketOptions", value={"MarketTyp": "spot"}),
            "InstanceMarketOptions.MarketTyp is no setting of an EC2 instance",
        ),
        (_set("idle_timeout", value=5), "'idle_timeout' was unexpected"),
        (_set("max_workers", value="many"), "max_workers: 'many' is not of type 'integer'"),
        (_set("head_node_type", value="heads"), "`head_node_type` must be one of"),
        (
            _set("available_node_types", "head", "resources", value={"CPU": 0.5}),
            "0.5 is not of type 'integer'",
        ),
        (_set("provider", value=None), "provider is missing"),
        (_set("provider", "type", value="asw"), "Unsupported node provider: asw"),
        (_set("file_mounts", "~/x", value="no-such"), "file_mounts.~/x: no-such does not exist"),
        (
            _set(*NODE, "ImageId", value="<image id>"),
            "<image id> is left in available_node_types.gpu_worker.node_config.ImageId",
        ),
    ],
)
def test_each_mistake_is_told(change, sentence, fill_in):
    found = mistakes(fill_in("cluster.yaml", change), ROOT)
    assert len(found) == 1, found
    assert sentence in found[0]


def test_local_provider_without_addresses_and_key(fill_in):
    def change(content):
        del content["provider"]["worker_ips"]
        content["auth"]["ssh_private_key"] = "~/no-such-key"

    first, second = mistakes(fill_in("cluster-onprem.yaml", change), ROOT)
    assert "worker_ips" in first
    assert second.startswith("auth.ssh_private_key: ~/no-such-key does not exist")


def _check(*arguments):
    command = [sys.executable, "-m", "pipeline.search.cluster_file", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_program(fill_in, tmp_path):
    done = _check("infra/cluster.yaml")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) >= 4
    assert all(line.startswith("error: infra/cluster.yaml: the placeholder") for line in lines)
    done = _check(fill_in("cluster.yaml"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "ray up -y" in done.stdout
    (tmp_path / "list.yaml").write_text("- 1")
    for name, sentence in {"list.yaml": "must hold keys", "absent.yaml": "cannot be read"}.items():
        done = _check(tmp_path / name)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr


def test_money_ends_by_itself():
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


def test_nodes_get_all_that_runs_there():
    mounts = [yaml.safe_load(_text(name))["file_mounts"] for name in FILES]
    assert mounts[0] == mounts[1]
    assert all(remote == f"~/sagan-lab/{local}" for remote, local in mounts[0].items())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    rooms = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    # `ray submit` brings tune.py.
    elsewhere = {"tests", "benchmarks", "docs", "reports", ".ci", ".dvc", "tune.py"}
    files = {".dvcignore", ".gitignore", ".dockerignore", "Makefile", "pyproject.toml", "dvc.lock"}
    prose = {"README.md", "CONTRIBUTING.md", "LICENSE"}
    assert rooms - elsewhere - files - prose == set(mounts[0].values())


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
