"""The page in a real browser: no errors, no sideways scrolling, read-outs that work."""

import re

import pytest

from pipeline.reporting.build import build_report
from tests.reporting.test_page import NASTY
from tests.support.browser import needs_chromium, visit
from tests.support.stage_outputs import write_shards, write_stage_outputs

pytestmark = needs_chromium

PROBE = """
  const at = (element, event, x, y) => {
    const box = element.getBoundingClientRect();
    const place = { clientX: box.left + x * box.width, clientY: box.top + y * box.height };
    element.dispatchEvent(new PointerEvent(event, { bubbles: true, ...place }));
  };
  const svg = await chart(".plot");
  const frame = svg.querySelector(".mark-group.role-frame > g > .background");
  const plot = frame.getBoundingClientRect();
  const place = { clientX: plot.right - 1, clientY: plot.top + plot.height / 2, bubbles: true };
  const hovered = document.elementFromPoint(place.clientX, place.clientY);
  for (const event of ["pointerover", "pointermove"]) {
    hovered.dispatchEvent(new PointerEvent(event, place));
  }
  await new Promise((resolve) => setTimeout(resolve, 200));
  const tooltip = document.getElementById("vg-tooltip-element");
  const stage = document.querySelector(".stage[data-maps]");
  at(stage, "pointermove", 0.5, 0.5);
  const player = document.getElementById("player");
  const slider = player.querySelector("input");
  slider.value = 0;
  slider.dispatchEvent(new Event("input"));
  return {
    broken: [...document.images].filter((image) => image.naturalWidth === 0).length,
    tooltip: tooltip?.textContent,
    tooltipVisible: tooltip && getComputedStyle(tooltip).visibility,
    plotWidth: svg.getBoundingClientRect().width,
    charts: document.querySelectorAll(".plot").length,
    explored: !stage.querySelector("canvas").hidden,
    moment: player.querySelector("output").textContent,
    pixels: [...document.querySelectorAll("img.pixels")].map(
      (image) => image.getBoundingClientRect().width / image.naturalWidth),
    alerted: document.querySelectorAll("section script:not([type])").length,
  };
"""


@pytest.mark.parametrize("width", [390, 1280])
def test_page_of_the_digits(tmp_path, digits_report, width):
    found = visit(digits_report.outputs.page, tmp_path, width, PROBE)
    assert found["failed"] is None
    assert found["width"] <= width
    assert found["scrolled"] <= found["width"]
    assert found["broken"] == 0
    assert all(scale == round(scale) >= 1 for scale in found["pixels"])
    assert found["requests"] == []
    assert found["charts"] == 4
    assert found["plotWidth"] > 330
    assert found["tooltipVisible"] == "visible"
    assert re.search(r"thousand images96.*D1\.\d+.*G0\.\d+", found["tooltip"])
    assert found["explored"]
    assert found["moment"] == "16"


def test_nasty_names_on_a_phone(tmp_path):
    shards = write_shards(tmp_path / "shards", NASTY, 3, "<b>evil</b> " + "y" * 200)
    stages = write_stage_outputs(tmp_path, shards)
    build_report(stages.inputs, stages.outputs, samples_per_class=10, attention_samples=5)
    found = visit(stages.outputs.page, tmp_path, 390, PROBE)
    assert found["failed"] is None
    assert found["scrolled"] <= found["width"]
    assert found["alerted"] == 0
