"""A study's page in a real browser: no sideways scrolling, text to be read by day and night."""

import pytest

from pipeline.reporting.studies.build import write_study_page
from tests.support.browser import needs_chromium, visit
from tests.support.study_folders import write_attention, write_ttur

pytestmark = needs_chromium

# Of every text its contrast with the background that it stands on (WCAG 2, relative luminance).
PROBE = """
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).map((value) => value / 255).map(
      (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (channels(color)[3] !== 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = [...document.body.querySelectorAll("*")].filter((element) =>
    !["SCRIPT", "STYLE", "title"].includes(element.tagName)
    && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  const contrasts = texts.map((element) => {
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const pair = [luminance(ink), luminance(behind(element))].sort((a, b) => a - b);
    return [(pair[1] + 0.05) / (pair[0] + 0.05), element.textContent.trim().slice(0, 30)];
  });
  return {
    paper: luminance(behind(document.body)),
    texts: contrasts.length,
    faintest: contrasts.sort((a, b) => a[0] - b[0])[0],
  };
"""


@pytest.mark.parametrize(("write", "width"), [(write_attention, 1280), (write_ttur, 390)])
@pytest.mark.parametrize("dark", [False, True])
def test_page_of_a_study(tmp_path, write, width, dark):
    folder = write(tmp_path / "study")
    write_study_page(folder)
    found = visit(folder / "index.html", tmp_path, width, PROBE, dark)
    assert found["failed"] is None
    assert found["scrolled"] <= found["width"] <= width
    assert (found["paper"] < 0.1) is dark
    assert found["texts"] > 50
    assert found["faintest"][0] >= 4.5, found["faintest"]
