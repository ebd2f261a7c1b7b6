"use strict";
// The page is whole without this script; it adds the player and the attention explorer.

const player = document.getElementById("player");
if (player) {
  const moments = [...player.querySelector("template").content.children];
  const image = player.querySelector("img");
  const slider = player.querySelector("input");
  const output = player.querySelector("output");
  const button = player.querySelector("button");
  const marks = document.querySelectorAll(".moment");
  let timer = null;
  const show = (index) => {
    const moment = moments[index];
    slider.value = index;
    image.src = moment.dataset.src;
    image.alt = moment.dataset.alt;
    output.textContent = moment.value;
    marks.forEach((mark, i) => mark.classList.toggle("on", i === index));
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  };
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  marks.forEach((mark, i) => mark.addEventListener("click", () => { stop(); show(i); }));
  button.addEventListener("click", () => {
    if (timer) { stop(); return; }
    button.textContent = "Stop";
    show(0);
    timer = setInterval(() => {
      const next = Number(slider.value) + 1;
      if (next >= moments.length) stop(); else show(next);
    }, 700);
  });
  player.hidden = moments.length < 2;
  show(moments.length - 1);
}

for (const stage of document.querySelectorAll(".stage[data-maps]")) {
  const size = Number(stage.dataset.size);
  const keys = Number(stage.dataset.keys);
  const maps = Uint8Array.from(atob(stage.dataset.maps), (c) => c.charCodeAt(0));
  const palette = JSON.parse(document.getElementById("palette").textContent)
    .map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = keys;
  canvas.hidden = true;
  const svg = stage.querySelector("svg");
  stage.insertBefore(canvas, svg);
  const dots = [...svg.children];
  const here = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [key, value] of Object.entries({ class: "here", width: 1, height: 1, "stroke-width": size / 80, visibility: "hidden" })) {
    here.setAttribute(key, value);
  }
  svg.append(here);
  const context = canvas.getContext("2d");
  let row = size / 2, column = size / 2;
  const draw = () => {
    const pixels = context.createImageData(keys, keys);
    const start = (row * size + column) * keys * keys;
    for (let i = 0; i < keys * keys; i += 1) {
      const weight = maps[start + i] / 255;
      const colour = palette[Math.round(weight * (palette.length - 1))];
      pixels.data.set([...colour, Math.round(255 * (0.25 + 0.65 * weight))], 4 * i);
    }
    context.putImageData(pixels, 0, 0);
    canvas.hidden = false;
    here.setAttribute("x", column);
    here.setAttribute("y", row);
    here.setAttribute("visibility", "visible");
    for (const dot of dots) dot.setAttribute("visibility", "hidden");
  };
  const clear = () => {
    canvas.hidden = true;
    here.setAttribute("visibility", "hidden");
    for (const dot of dots) dot.setAttribute("visibility", "visible");
  };
  const point = (event) => {
    const box = canvas.hidden ? svg.getBoundingClientRect() : canvas.getBoundingClientRect();
    const cell = (offset, length) => Math.min(size - 1, Math.max(0, Math.floor((offset / length) * size)));
    row = cell(event.clientY - box.top, box.height);
    column = cell(event.clientX - box.left, box.width);
    draw();
  };
  stage.tabIndex = 0;
  stage.addEventListener("pointermove", point);
  stage.addEventListener("pointerdown", point);
  stage.addEventListener("pointerleave", clear);
  stage.addEventListener("blur", clear);
  stage.addEventListener("keydown", (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    row = Math.min(size - 1, Math.max(0, row + move[0]));
    column = Math.min(size - 1, Math.max(0, column + move[1]));
    draw();
  });
}
for (const hint of document.querySelectorAll(".explore")) {
  hint.hidden = document.querySelector(".stage[data-maps]") === null;
}
