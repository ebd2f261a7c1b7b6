"""`ray up`, `ray submit` and `ray down` over ssh: a person's machine, a head and a worker.

Needs root, openssh-server, rsync and iproute2, and is skipped with the reason without them.
"""

import json
import shutil
import sys

import pytest

from tests.infra.hosts import Hosts, why_not
from tests.support.project import ROOT

FILE = ROOT / "infra" / "cluster-onprem.yaml"
STUDY = "--smoke --study attention --num-trials 1 --max-kimg 0.4 --seeds 0"


@pytest.fixture
def hosts(tmp_path):
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with Hosts(tmp_path, ["person", "head", "worker"]) as hosts:
        for name in ("head", "worker"):
            project = hosts.home(name) / "sagan-lab"
            project.mkdir()
            # What setting a node up would install, and a disk that the nodes share.
            (project / ".venv").symlink_to(sys.prefix)
            shutil.copy(ROOT / "requirements.lock", project / ".installed.lock")
            for folder in ("data", "runs"):
                (tmp_path / "shared" / folder).mkdir(parents=True, exist_ok=True)
                (project / folder).symlink_to(tmp_path / "shared" / folder)
        yield hosts


def _filled_in(hosts):
    text = FILE.read_text(encoding="utf-8")
    for old, new in {
        "REPLACE_WITH_ADDRESS_OF_HEAD": hosts.address("head"),
        "REPLACE_WITH_ADDRESS_OF_WORKER": hosts.address("worker"),
        "REPLACE_WITH_USER": "root",
        "REPLACE_WITH_PATH_OF_KEY": str(hosts.key),
        "ray start --head": "ray start --head --num-cpus=0",  # so that trials run on the worker
    }.items():
        assert old in text
        text = text.replace(old, new)
    path = hosts.folder / "cluster.yaml"
    path.write_text(text)
    return str(path)


def _context(hosts, name):
    """Command lines on a host."""
    code, output = hosts.run(name, "ps", "-eo", "args")
    assert code == 0, output
    return output


@pytest.mark.slow
def test_study_on_two_hosts(hosts):
    cluster = _filled_in(hosts)
    code, output = hosts.run("person", "ray", "up", "-y", cluster)
    assert code == 0, output

    submit = ("ray", "submit", cluster, "tune.py", "--", *STUDY.split())
    code, output = hosts.run("person", *submit, timeout_s=300)
    assert code == 0, output
    project = hosts.home("head") / "sagan-lab"
    results = json.loads((project / "reports/studies/attention-smoke/results.json").read_text())
    assert [trial["status"] for trial in results["trials"]] == ["complete"]
    assert results["best"]["value"] is not None
    assert len(list((hosts.folder / "shared" / "runs").iterdir())) == 1
    # The code that ran is what was synchronised, and the worker joined over ssh.
    assert (project / "pipeline" / "search").is_dir()
    assert (hosts.home("worker") / "sagan-lab" / "pipeline" / "search").is_dir()
    code, output = hosts.run("person", "ray", "exec", cluster, "ray status")
    assert code == 0, output
    assert "2 local.cluster.node" in output
    assert "/2.0 CPU" in output  # the worker's
    assert "raylet" in _context(hosts, "worker")

    code, output = hosts.run("person", "ray", "down", "-y", cluster)
    assert code == 0, output
    assert "raylet" not in _context(hosts, "head")
    # Ray stops the head alone; the README says how to stop the others.
    assert "raylet" in _context(hosts, "worker")
    ssh = ("ssh", "-i", str(hosts.key), "-o", "StrictHostKeyChecking=no")
    stop = (f"root@{hosts.address('worker')}", "sagan-lab/.venv/bin/ray stop --force")
    code, output = hosts.run("person", *ssh, *stop)
    assert code == 0, output
    assert "raylet" not in _context(hosts, "worker")
