"""The sync to a real server that is killed, absent or silent."""

import json
import socket
import time

import pytest

from tests.support.tracked_runs import image_steps, points, report, start, the_run, track

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
)


def wait_for(condition, seconds=30):
    """Polls for something on another thread and in another process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def sent_nimg(run_dir):
    (path,) = run_dir.glob("mlflow-*.json")
    return json.loads(path.read_text())["progress"]["sent_nimg"].get("image/samples")


def test_server_killed_in_the_middle_misses_nothing(tmp_path, server, capfd):
    run_dir = tmp_path / "run"
    tracker = start(run_dir, server.uri)
    report(tracker, run_dir, [1000, 2000])
    wait_for(lambda: sent_nimg(run_dir) == 2000)
    server.kill()
    report(tracker, run_dir, [3000, 4000])
    wait_for(lambda: tracker._error is not None)
    server.start()
    report(tracker, run_dir, [5000])
    tracker.close("finished")
    client, run = the_run(server.uri)
    assert points(client, run) == [(n * 1000, float(n)) for n in range(1, 6)]
    assert image_steps(client, run) == [1000, 2000, 3000, 4000, 5000]
    assert run.info.status == "FINISHED"
    assert capfd.readouterr() == ("", "")


def test_what_a_dead_server_missed_is_sent_by_the_next_run(tmp_path, server, capfd):
    run_dir = tmp_path / "run"
    track(run_dir, server.uri, [1000], outcome="preempted", run_key="k2")
    server.kill()
    try:
        track(run_dir, server.uri, [2000, 3000], outcome="preempted", run_key="k2")
        output, errors = capfd.readouterr()
    finally:
        server.start()
    assert output == ""
    assert errors.count("\n") == 1
    assert f"mlflow at {server.uri} misses 4 records: [Errno 111] Connection refused" in errors
    client, run = the_run(server.uri, "k2")
    assert points(client, run) == [(1000, 1.0)]
    track(run_dir, server.uri, [4000], run_key="k2")
    client, run = the_run(server.uri, "k2")
    assert points(client, run) == [(n * 1000, float(n)) for n in range(1, 5)]
    assert image_steps(client, run) == [1000, 2000, 3000, 4000]
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("kind", ["refuses connections", "never answers"])
def test_an_absent_server_does_not_delay_training(tmp_path, kind, capfd):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "never answers":
            listener.listen()
        uri = f"http://me:secret@127.0.0.1:{listener.getsockname()[1]}"
        tracker = start(tmp_path, uri, close_s=1.0)
        started = time.perf_counter()
        for nimg in range(500):
            tracker.log({f"loss/{i}": 0.5 for i in range(10)}, nimg, 0.0)
        # Waiting for the server would take a second or more for each.
        assert time.perf_counter() - started < 60
        tracker.close("finished")
    errors = capfd.readouterr().err
    assert errors.count("\n") == 1
    assert "misses 500 records" in errors
    assert "secret" not in errors
    (path,) = tmp_path.glob("mlflow-*.json")
    assert "secret" not in path.read_text()
