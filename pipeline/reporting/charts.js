"use strict";
// Replaces the charts, which were drawn when the page was made, by interactive ones.

addEventListener("load", async () => {
  for (const plot of document.querySelectorAll(".plot")) {
    await new Promise((resolve) => setTimeout(resolve));  // the page answers between two charts
    const spec = JSON.parse(plot.nextElementSibling.textContent);
    plot.style.minHeight = `${plot.offsetHeight}px`;  // nothing below moves meanwhile
    await vegaEmbed(plot, spec, {
      mode: "vega-lite",
      renderer: "svg",
      actions: false,
      defaultStyle: false,
      tooltip: { disableDefaultStyle: true },
    });
    plot.style.minHeight = "";
    plot.dataset.ready = "";
  }
  for (const hint of document.querySelectorAll(".zoom")) hint.hidden = false;
});
