"""The command of the MLflow server's compose file, run with an S3 server, SQLite in PostgreSQL's
place, and no containers."""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request

import boto3
import pytest
import yaml

from tests.support.processes import free_port, wait_for
from tests.support.project import ROOT
from tests.support.s3_server import serve_s3

FOLDER = ROOT / "infra" / "mlflow"
SERVICES = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
HOST = "mlflow.ours"


def _variables():
    """What example.env sets, filled in."""
    lines = (FOLDER / "example.env").read_text().splitlines()
    pairs = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    values = {"HOST": HOST, "BUCKET": "bucket", "REGION": "us-east-1", "PASSWORD": "secret"}
    return {
        key: re.sub(r"REPLACE_WITH_(\w+)", lambda m: values[m[1]], value)
        for key, value in pairs.items()
    }


def _expand(text, variables):
    return re.sub(r"\$\{(\w+)[^}]*\}", lambda match: variables[match[1]], text)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of the server; its bucket is on a server that boto3 finds in the environment."""
    folder = tmp_path_factory.mktemp("team-server")
    port = free_port()
    replaced = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={port}"}
    variables = _variables()
    command = [_expand(part, variables) for part in SERVICES["mlflow"]["command"]]
    assert replaced.keys() <= set(command)
    command = [replaced.get(part, part) for part in command if "--workers" not in part]
    environment = {key: str(v) for key, v in SERVICES["mlflow"]["environment"].items()}
    environment["MLFLOW_BACKEND_STORE_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    with serve_s3(), open(folder / "log", "w") as log:
        boto3.client("s3").create_bucket(Bucket="bucket")
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--workers=1"],
            cwd=folder,
            env=os.environ | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_for(lambda: process.poll() is not None or _status(port, "/health") == 200)
            assert process.poll() is None, (folder / "log").read_text()
            yield port
        finally:
            os.killpg(process.pid, 9)
            process.wait()


def _status(port, path, host=None, data=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=data,
        headers={} if host is None else {"Host": host},
        method="GET" if data is None else "PUT",
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (urllib.error.URLError, ConnectionError):
        return None


def test_names_that_it_answers_to(server):
    search = "/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert _status(server, search, HOST) == 200
    assert _status(server, search, f"{HOST}:5000") == 200
    assert _status(server, search, "elsewhere.example") == 403


def test_artifacts_go_through_it_to_the_bucket(server):
    place = "/api/2.0/mlflow-artifacts/artifacts/a/b.txt"
    assert _status(server, place, HOST, b"some bytes") == 200
    client = boto3.client("s3")
    stored = client.get_object(Bucket="bucket", Key="mlflow/a/b.txt")["Body"].read()
    assert stored == b"some bytes"


def test_services_fit_together():
    mlflow, postgres = SERVICES["mlflow"], SERVICES["postgres"]
    assert set(mlflow["depends_on"]) == {"postgres"}
    uri = _expand(mlflow["environment"]["MLFLOW_BACKEND_STORE_URI"], _variables())
    account = {key: _expand(v, _variables()) for key, v in postgres["environment"].items()}
    assert uri == "postgresql+psycopg://{}:{}@postgres:5432/{}".format(
        account["POSTGRES_USER"], account["POSTGRES_PASSWORD"], account["POSTGRES_DB"]
    )
    build = mlflow["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    # The file with the password is nobody's to commit.
    assert "/infra/mlflow/.env" in (ROOT / ".gitignore").read_text().splitlines()
