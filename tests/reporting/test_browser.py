"""The page in a real browser: no errors, no sideways scrolling, read-outs that work."""

import html
import json
import re
import shutil
import subprocess

import pytest

from pipeline.reporting.build import build_report
from tests.reporting.stage_outputs import write_shards, write_stage_outputs
from tests.reporting.test_page import NASTY

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")

# Runs in the page, which stands in a frame as wide as the window would be: headless windows have a
# minimal width of their own.
PROBE = """<script>
addEventListener("error", (event) => { window.failed = event.message; });
addEventListener("load", () => {
  const at = (element, event, x, y) => {
    const box = element.getBoundingClientRect();
    const place = { clientX: box.left + x * box.width, clientY: box.top + y * box.height };
    element.dispatchEvent(new PointerEvent(event, { bubbles: true, ...place }));
  };
  const chart = document.querySelector(".chart");
  at(chart.querySelector("svg"), "pointermove", 0.999, 0.5);
  const stage = document.querySelector(".stage[data-maps]");
  at(stage, "pointermove", 0.5, 0.5);
  const player = document.getElementById("player");
  const slider = player.querySelector("input");
  slider.value = 0;
  slider.dispatchEvent(new Event("input"));
  const broken = [...document.images].filter((image) => image.naturalWidth === 0).length;
  const root = document.documentElement;
  parent.postMessage({
    failed: window.failed ?? null,
    width: root.clientWidth,
    scrolled: Math.max(root.scrollWidth, document.body.scrollWidth),
    broken,
    legend: chart.querySelector(".legend").textContent,
    explored: !stage.querySelector("canvas").hidden,
    moment: player.querySelector("output").textContent,
    pixels: [...document.querySelectorAll("img.pixels")].map(
      (image) => image.getBoundingClientRect().width / image.naturalWidth),
    alerted: document.querySelectorAll("section script:not([type])").length,
  }, "*");
});
</script>"""
FRAME = """<!DOCTYPE html><body><script>
addEventListener("message", (event) => {
  document.body.dataset.result = JSON.stringify(event.data);
});
</script><iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>"""


def visit(page, folder, width):
    """What the probe found in a window of this width."""
    content = page.read_text(encoding="utf-8").replace("<head>", f"<head>{PROBE}", 1)
    (folder / "page.html").write_text(content, encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.replace("{width}", str(width)))
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += ["--disable-dev-shm-usage", "--enable-logging=stderr", "--window-size=1400,1000"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000"]
    command += ["--dump-dom", (folder / "frame.html").as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert "CONSOLE" not in run.stderr, run.stderr
    (found,) = re.findall(r'data-result="([^"]*)"', run.stdout)
    return json.loads(html.unescape(found))


@pytest.mark.parametrize("width", [390, 1280])
def test_page_of_the_digits(tmp_path, digits_report, width):
    found = visit(digits_report.outputs.page, tmp_path, width)
    assert found["failed"] is None
    assert found["width"] <= width
    assert found["scrolled"] <= found["width"]
    assert found["broken"] == 0
    assert all(scale == round(scale) >= 1 for scale in found["pixels"])
    assert re.search(r"D 1\.\d+.*G 0\.\d+.*at 96 kimg", " ".join(found["legend"].split()))
    assert found["explored"]
    assert found["moment"] == "16"


def test_nasty_names_on_a_phone(tmp_path):
    shards = write_shards(tmp_path / "shards", NASTY, 3, "<b>evil</b> " + "y" * 200)
    stages = write_stage_outputs(tmp_path, shards)
    build_report(stages.inputs, stages.outputs, samples_per_class=10, attention_samples=5)
    found = visit(stages.outputs.page, tmp_path, 390)
    assert found["failed"] is None
    assert found["scrolled"] <= found["width"]
    assert found["alerted"] == 0
