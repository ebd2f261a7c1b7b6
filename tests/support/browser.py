"""A page opened in a real browser, and what a script in it finds."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")

# Runs in the page, which stands in a frame as wide as the window would be: headless windows have a
# minimal width of their own.
_SCRIPT = """<script>
addEventListener("error", (event) => { window.failed = event.message; });
addEventListener("unhandledrejection", (event) => { window.failed = String(event.reason); });
const chart = (selector) => new Promise((resolve) => {
  const plot = document.querySelector(selector);
  plot.scrollIntoView({ behavior: "instant", block: "center" });
  const wait = () => "ready" in plot.dataset
    ? resolve(plot.querySelector("svg")) : setTimeout(wait, 20);
  wait();
});
addEventListener("load", async () => {
  const found = await (async () => { PROBE })();
  const root = document.documentElement;
  parent.postMessage({
    failed: window.failed ?? null,
    width: root.clientWidth,
    requests: performance.getEntriesByType("resource").map((entry) => entry.name)
      .filter((name) => !name.startsWith("data:")),
    scrolled: Math.max(root.scrollWidth, document.body.scrollWidth),
    ...found,
  }, "*");
});
</script>"""
_FRAME = """<!DOCTYPE html><body><script>
addEventListener("message", (event) => {
  document.body.dataset.result = JSON.stringify(event.data);
});
</script><iframe src="page.html" style="width:WIDTHpx;height:900px;border:0"></iframe>"""


def visit(page: Path, folder: Path, width: int, probe: str, dark: bool = False) -> dict[str, Any]:
    """What the page is in a window of this width, with what the script `probe` returns.

    A probe may wait: `const svg = await chart(".plot")` is a chart once it is interactive.

    `folder` is for the browser's own files. Fails when the page writes to the console.
    """
    assert CHROMIUM is not None
    content = page.read_text(encoding="utf-8")
    script = _SCRIPT.replace("PROBE", probe)
    (folder / "page.html").write_text(content.replace("<head>", f"<head>{script}", 1), "utf-8")
    (folder / "frame.html").write_text(_FRAME.replace("WIDTH", str(width)))
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += ["--disable-dev-shm-usage", "--enable-logging=stderr", "--window-size=1400,1000"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000"]
    command += ["--dump-dom", (folder / "frame.html").as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert "CONSOLE" not in run.stderr, run.stderr
    (found,) = re.findall(r'data-result="([^"]*)"', run.stdout)
    result: dict[str, Any] = json.loads(html.unescape(found))
    return result
