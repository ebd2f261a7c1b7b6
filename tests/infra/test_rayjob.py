"""The job for KubeRay against a schema of its resource.

The schema, `rayjob.schema.json`, is written by hand: of a RayJob and its cluster it has the fields,
types, required ones and enumerations of the operator's own types (KubeRay,
ray-operator/apis/ray/v1/rayjob_types.go and raycluster_types.go), of which its custom resource
definition is generated; of pods what Kubernetes documents of the fields that a job may need here.
It is stricter on pods than the definition.
"""

import copy
import json
import re

import jsonschema
import pytest
import yaml

from tests.support.project import ROOT

SCHEMA = json.loads(ROOT.joinpath("tests/infra/rayjob.schema.json").read_text())
JOB = yaml.safe_load(ROOT.joinpath("infra/kuberay-rayjob.yaml").read_text())
CLUSTER = JOB["spec"]["rayClusterSpec"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]


def test_job_follows_the_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(JOB, SCHEMA)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("spec", "entryPoint"), "python tune.py"),
        (("spec", "ttlSecondsAfterFinished"), "600"),
        (("spec", "submissionMode"), "HttpMode"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "maxReplica"), 8),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "volume"), []),
        (("apiVersion",), "ray.io/v1alpha1"),
    ],
)
def test_schema_refuses_mistakes(place, value):
    job = copy.deepcopy(JOB)
    inner = job
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, SCHEMA)


def test_job_is_of_this_project():
    lock = ROOT.joinpath("requirements.lock").read_text().splitlines()
    assert f"ray=={CLUSTER['rayVersion']}" in lock
    docker = ROOT.joinpath("infra/Dockerfile").read_text()
    folder = re.search(r"^WORKDIR (.+)$", docker, re.MULTILINE)[1]
    assert JOB["spec"]["entrypoint"].startswith(f"python {folder}/tune.py ")
    for group in GROUPS:
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        (container,) = pod["containers"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert set(mounts.values()) == volumes
        assert {f"{folder}/data", f"{folder}/runs", f"{folder}/reports"} <= set(mounts)
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
