"""An empty cache of torch hub, without a network."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

NOWHERE = "http://127.0.0.1:9"  # nobody answers there


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in the place of torch's downloads, and no way to the network."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, NOWHERE)
    # urllib keeps the proxies of the process's first request for all later ones.
    monkeypatch.setattr("urllib.request._opener", None)
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "hub")
    yield tmp_path / "hub"
    torch.hub.set_dir(before)
