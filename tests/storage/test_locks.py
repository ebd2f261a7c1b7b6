"""File locks hold between open files of one process as between processes."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.storage.locks import WAIT, LockedError, is_locked, lock_open_file, locked


def test_the_error_names_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path):
        assert is_locked(path)
        with pytest.raises(LockedError, match=f"^{os.getpid()}$"), locked(path):
            pass
    assert not is_locked(path)
    with locked(path):
        pass


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = "import sys\nfrom pathlib import Path\nfrom pipeline.storage.locks import locked\n"
    script += "with locked(Path(sys.argv[1])):\n    print(flush=True)\n    sys.stdin.read()\n"
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(LockedError, match=f"^{other.pid}$"), locked(path):
            pass
        other.kill()
    with locked(path):
        assert path.read_text() == str(os.getpid())


@pytest.mark.parametrize("patience_s", [60.0, WAIT])
def test_waits_for_the_holder(tmp_path: Path, patience_s: float) -> None:
    path, order = tmp_path / "lock", []

    def wait() -> None:
        with locked(path, patience_s):
            order.append("second")

    with locked(path):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_shared_locks_exclude_an_exclusive_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with path.open() as one, path.open() as other, path.open() as third:
        assert lock_open_file(one.fileno(), shared=True)
        assert lock_open_file(other.fileno(), shared=True)
        assert not lock_open_file(third.fileno())
        one.close()
        assert not lock_open_file(third.fileno())
        other.close()
        assert lock_open_file(third.fileno())


def test_a_folder_can_be_locked(tmp_path: Path) -> None:
    one, other = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)
    assert lock_open_file(one)
    assert not lock_open_file(other)
    os.close(one)
    assert lock_open_file(other, wait=True)
    os.close(other)
