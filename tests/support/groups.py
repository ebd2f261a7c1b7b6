"""Which tests pytest-xdist runs in one process, under `--dist loadgroup`."""

import pytest


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups tests by file, and all files that use the Ray cluster, of which there is one."""
    on_cluster = {item.path for item in items if "cluster" in getattr(item, "fixturenames", ())}
    for item in items:
        name = "ray-cluster" if item.path in on_cluster else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(name))
