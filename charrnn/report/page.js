"use strict";
(() => {
  const passage = document.getElementById("passage");
  if (!passage) return;
  const by = (id) => document.getElementById(id);
  const data = JSON.parse(by("data").textContent);
  const cells = [...passage.children];
  const figures = [...document.querySelectorAll(".layer")];
  const tip = by("tip");
  const surprises = cells.map((cell) => cell.className);
  const middle = (data.palette.length - 1) / 2;
  let layer = null; // which of data.layers colours the passage; null: none, surprise does
  let row = 0; // which of its units
  const read = []; // of each layer, its levels: one for each unit and character

  const signed = (r) => (r < 0 ? "−" : "+") + Math.abs(r).toFixed(2);
  const element = (name, className, text) => {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  };

  // --- a character

  let shown = 0; // whose figures are seen

  function show(i) {
    const head = element("div", "", "");
    head.append(element("b", "symbol", data.labels[i]));
    head.append(`${data.bits[i].toFixed(2)} bits, rank ${data.ranks[i].toLocaleString("en")}`);
    const list = element("ol", "", "");
    for (let k = i * data.each; k < (i + 1) * data.each; k++) {
      const symbol = data.symbols[data.likely[k]];
      const line = element("li", symbol === data.labels[i] ? "is" : "", "");
      const bar = element("span", "bar", "");
      bar.style.width = `${data.permille[k] / 10}%`;
      const percent = data.permille[k] ? `${(data.permille[k] / 10).toFixed(1)} %` : "< 0.1 %";
      line.append(element("span", "symbol", symbol), bar, element("span", "", percent));
      list.append(line);
    }
    tip.replaceChildren(head, list);
    if (layer !== null) {
      const { units, scale } = data.layers[layer];
      const level = levels(layer)[row * cells.length + i];
      const activity = ((level - middle) / middle) * scale;
      tip.append(element("div", "", `unit ${units[row][0]}: about ${activity.toFixed(1)}`));
    }
    tip.hidden = false;
    shown = i;
    place();
    for (const figure of figures) {
      const column = figure.querySelector(".column");
      column.hidden = false;
      column.style.left = `${(100 * i) / cells.length}%`;
      column.style.width = `${100 / cells.length}%`;
      const frame = column.closest(".wide");
      const left = column.offsetLeft;
      if (left < frame.scrollLeft || left > frame.scrollLeft + frame.clientWidth - 8)
        frame.scrollLeft = left - frame.clientWidth / 2;
    }
  }

  const box = (i) => cells[i].getClientRects()[0] ?? cells[i].getBoundingClientRect();

  // puts the figures next to their character
  function place() {
    const { left, top, bottom } = box(shown);
    const below = bottom + 8 + tip.offsetHeight < innerHeight;
    const rightmost = innerWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(8, Math.min(left - 20, rightmost))}px`;
    tip.style.top = `${below ? bottom + 8 : Math.max(8, top - tip.offsetHeight - 8)}px`;
  }

  function hide() {
    tip.hidden = true;
    document.querySelectorAll(".column").forEach((column) => (column.hidden = true));
  }

  const placeOf = (target) => (target.parentNode === passage ? cells.indexOf(target) : -1);
  let current = 0; // which character the Tab key reaches

  function reach(i) {
    const before = cells[current];
    for (const name of ["role", "aria-label", "aria-describedby"]) before.removeAttribute(name);
    before.tabIndex = -1;
    current = i;
    cells[i].tabIndex = 0;
    cells[i].setAttribute("role", "img");
    cells[i].setAttribute("aria-label", data.labels[i]);
    cells[i].setAttribute("aria-describedby", "tip");
  }

  passage.addEventListener("mouseover", (event) => {
    const i = placeOf(event.target);
    if (i >= 0) show(i);
  });
  passage.addEventListener("mouseleave", () => {
    if (passage.contains(document.activeElement)) show(current);
    else hide();
  });
  passage.addEventListener("focusin", (event) => {
    const i = placeOf(event.target);
    if (i < 0) return;
    reach(i);
    show(i);
  });
  passage.addEventListener("focusout", hide);
  addEventListener("scroll", () => tip.hidden || place(), { passive: true });

  // the nearest character of the line above (-1) or below (1), or of the same line's end (0)
  function inLine(i, step) {
    const start = box(i);
    let j = i + step;
    while (cells[j] && Math.abs(box(j).top - start.top) < 4) j += step;
    if (!cells[j]) return i;
    let nearest = j;
    const top = box(j).top;
    for (; cells[j] && Math.abs(box(j).top - top) < 4; j += step)
      if (Math.abs(box(j).left - start.left) < Math.abs(box(nearest).left - start.left)) nearest = j;
    return nearest;
  }

  function endOfLine(i, step) {
    const top = box(i).top;
    while (cells[i + step] && Math.abs(box(i + step).top - top) < 4) i += step;
    return i;
  }

  passage.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const last = cells.length - 1;
    const moves = {
      ArrowLeft: () => Math.max(current - 1, 0),
      ArrowRight: () => Math.min(current + 1, last),
      ArrowUp: () => inLine(current, -1),
      ArrowDown: () => inLine(current, 1),
      Home: () => endOfLine(current, -1),
      End: () => endOfLine(current, 1),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    cells[moves[event.key]()].focus();
  });

  // --- units

  function levels(k) {
    if (read[k]) return read[k];
    const image = figures[k].querySelector("img");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const known = new Map();
    const found = new Uint8Array(pixels.length / 4);
    for (let p = 0; p < found.length; p++) {
      const [r, g, b] = [pixels[4 * p], pixels[4 * p + 1], pixels[4 * p + 2]];
      const colour = (r << 16) | (g << 8) | b;
      if (!known.has(colour)) {
        const far = data.palette.map((c) => (c[0] - r) ** 2 + (c[1] - g) ** 2 + (c[2] - b) ** 2);
        known.set(colour, far.indexOf(Math.min(...far)));
      }
      found[p] = known.get(colour);
    }
    return (read[k] = found);
  }

  const layerChoice = by("layer");
  const unitChoice = by("unit");

  function colour(k, chosen) {
    layer = k;
    row = chosen;
    figures.forEach((figure, number) => {
      figure.classList.toggle("chosen", number === (k ?? 0));
      const mark = figure.querySelector(".row");
      mark.hidden = number !== k;
      if (number !== k) return;
      const units = data.layers[k].units.length;
      mark.style.top = `${(100 * chosen) / units}%`;
      mark.style.height = `${100 / units}%`;
    });
    const off = k === null;
    cells.forEach((cell, i) => {
      cell.className = off ? surprises[i] : `u${levels(k)[chosen * cells.length + i]}`;
    });
    by("surprise-scale").hidden = !off;
    by("unit-scale").hidden = off;
    by("unit-label").hidden = off;
    layerChoice.value = off ? "" : String(k);
    let address = "";
    if (!off) {
      const { units, scale } = data.layers[k];
      by("lowest").textContent = `−${scale}`;
      by("highest").textContent = `${scale}`;
      if (unitChoice.dataset.layer !== String(k)) {
        unitChoice.dataset.layer = String(k);
        unitChoice.replaceChildren(
          ...units.map(([unit, trait, r], number) => {
            const text = `${unit}: ${data.traits[trait]}, r = ${signed(r)}`;
            return new Option(text, String(number));
          }),
        );
      }
      unitChoice.value = String(chosen);
      address = `#unit-${data.layers[k].layer}-${units[chosen][0]}`;
    }
    try {
      history.replaceState(null, "", address || location.pathname + location.search);
    } catch {
      // a page without an address of its own
    }
  }

  const rowOf = (k, unit) => data.layers[k].units.findIndex(([number]) => number === unit);

  layerChoice.addEventListener("change", () => {
    colour(layerChoice.value === "" ? null : Number(layerChoice.value), 0);
  });
  unitChoice.addEventListener("change", () => colour(layer, Number(unitChoice.value)));
  figures.forEach((figure, k) => {
    figure.querySelector(".picture").addEventListener("click", (event) => {
      const area = event.currentTarget.getBoundingClientRect();
      const units = data.layers[k].units.length;
      const share = (event.clientY - area.top) / area.height;
      colour(k, Math.min(units - 1, Math.max(0, Math.floor(share * units))));
    });
  });
  document.querySelectorAll(".pick").forEach((button) => {
    button.disabled = false;
    button.addEventListener("click", () => {
      const k = Number(button.dataset.layer);
      colour(k, rowOf(k, Number(button.dataset.unit)));
      passage.scrollIntoView({ block: "nearest" });
    });
  });

  // --- the beginning

  document.documentElement.classList.add("js");
  for (const cell of cells) {
    cell.removeAttribute("title");
    cell.tabIndex = -1;
  }
  if (cells.length) reach(0);
  const images = figures.map((figure) => figure.querySelector("img").decode());
  Promise.all(images).then(() => {
    const [, number, unit] = location.hash.match(/^#unit-(\d+)-(\d+)$/) ?? [];
    const k = data.layers.findIndex((one) => one.layer === Number(number));
    if (k >= 0 && rowOf(k, Number(unit)) >= 0) colour(k, rowOf(k, Number(unit)));
    else if (figures.length) figures[0].classList.add("chosen");
    document.documentElement.classList.add("ready");
  });
})();
