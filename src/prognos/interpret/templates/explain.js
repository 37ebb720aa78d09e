"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const PIXELS_A_PATCH = 8;
  const MOST_PIXELS = 3072;

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const halves = (text) => new Uint16Array(bytes(text));
  const floats = (text) => new Float32Array(Uint32Array.from(halves(text), (bits) => bits << 16).buffer);
  const slides = data.slides.map((slide) => ({
    ...slide,
    coords: new Int32Array(bytes(slide.coords)),
    raw: slide.raw.map(floats),
    percentile: slide.percentile.map((text) => Float32Array.from(halves(text), (share) => share / 655.35)),
    assigned: slide.assigned && halves(slide.assigned),
  }));
  const amounts = data.amounts.match(/.{6}/g).map((colour) => "#" + colour);

  const state = { slide: 0, map: data.classes ? "classes" : "0", scale: "percentile", row: -1 };
  const current = () => slides[state.slide];

  const viewer = OpenSeadragon({
    element: byId("viewer"), drawer: "canvas", showNavigationControl: false, showNavigator: false, crossOriginPolicy: false,
    gestureSettingsMouse: { clickToZoom: false }, gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
    gestureSettingsPen: { clickToZoom: false }, maxZoomPixelRatio: 12, visibilityRatio: 0.4, animationTime: 0.5,
  });
  const overlay = Object.assign(document.createElement("canvas"), { id: "overlay" });
  viewer.canvas.appendChild(overlay);
  let painted = null;

  function source(slide) {
    const finest = Math.ceil(Math.log2(Math.max(...slide.size)));
    const coarsest = finest - slide.levels.length + 1;
    return {
      width: slide.size[0], height: slide.size[1], tileSize: slide.tile, minLevel: coarsest, maxLevel: finest,
      getTileUrl: (level, x, y) => slide.tiles[slide.levels[level - coarsest][y][x]],
    };
  }

  function open(number, after) {
    state.slide = number;
    state.row = -1;
    byId("slide").value = String(number);
    paint();
    viewer.addOnceHandler("open", () => { place(); if (after) after(); });
    viewer.open(source(current()));
  }

  function colourOf(slide, row) {
    if (state.map === "classes") return data.classes.colours[slide.assigned[row]];
    const number = Number(state.map);
    const [low, high] = data.maps[number].range;
    const share = state.scale === "percentile" ? slide.percentile[number][row] / 100
      : high > low ? (slide.raw[number][row] - low) / (high - low) : 0;
    return amounts[Math.round(255 * Math.min(1, Math.max(0, share)))];
  }

  function paint() {
    const slide = current();
    const longest = Math.max(...slide.extent);
    const pixels = Math.min(PIXELS_A_PATCH, Math.floor(MOST_PIXELS * slide.side / longest));
    const downsample = pixels ? slide.side / pixels : longest / MOST_PIXELS;
    painted = document.createElement("canvas");
    painted.width = Math.ceil(slide.extent[0] / downsample);
    painted.height = Math.ceil(slide.extent[1] / downsample);
    painted.downsample = downsample;
    if (state.map === "none") return;
    const pen = painted.getContext("2d");
    for (let row = 0; row < slide.coords.length / 2; row++) {
      const [x, y] = [slide.coords[2 * row], slide.coords[2 * row + 1]];
      const [left, top] = [Math.round(x / downsample), Math.round(y / downsample)];
      pen.fillStyle = colourOf(slide, row);
      pen.fillRect(left, top, Math.max(1, Math.round((x + slide.side) / downsample) - left), Math.max(1, Math.round((y + slide.side) / downsample) - top));
    }
  }

  function place() {
    if (!viewer.world.getItemCount()) return;
    const slide = current();
    const item = viewer.world.getItemAt(0);
    const ratio = window.devicePixelRatio || 1;
    const box = viewer.canvas.getBoundingClientRect();
    overlay.width = Math.round(box.width * ratio);
    overlay.height = Math.round(box.height * ratio);
    overlay.style.width = box.width + "px";
    overlay.style.height = box.height + "px";
    const shrunk = slide.size[0] / slide.extent[0];
    const at = (x, y) => item.imageToViewerElementCoordinates(new OpenSeadragon.Point(x * shrunk, y * shrunk));
    const [first, last] = [at(0, 0), at(painted.width * painted.downsample, painted.height * painted.downsample)];
    const pen = overlay.getContext("2d");
    pen.scale(ratio, ratio);
    pen.imageSmoothingEnabled = false;
    pen.globalAlpha = byId("opacity").value / 100;
    pen.drawImage(painted, first.x, first.y, last.x - first.x, last.y - first.y);
    pen.globalAlpha = 1;
    if (state.row >= 0) {
      const [x, y] = [slide.coords[2 * state.row], slide.coords[2 * state.row + 1]];
      const [a, b] = [at(x, y), at(x + slide.side, y + slide.side)];
      for (const [width, colour] of [[4, "#000"], [2, "#fff"]]) {
        pen.lineWidth = width;
        pen.strokeStyle = colour;
        pen.strokeRect(a.x, a.y, b.x - a.x, b.y - a.y);
      }
    }
    measure(slide, (last.x - first.x) / (painted.width * painted.downsample));
  }

  function measure(slide, pixelsALevel0Pixel) {
    byId("scale").hidden = !slide.mpp;
    if (!slide.mpp) return;
    const room = 120 * slide.mpp / pixelsALevel0Pixel;
    const power = 10 ** Math.floor(Math.log10(room));
    const length = [5, 2, 1].map((step) => step * power).find((one) => one <= room);
    const [label, bar] = byId("scale").children;
    bar.style.width = length / slide.mpp * pixelsALevel0Pixel + "px";
    label.textContent = length >= 1000 ? length / 1000 + " mm" : length + " microns";
  }

  const element = (tag, text, parent) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.appendChild(made);
    return made;
  };

  function explain() {
    const legend = byId("legend");
    legend.replaceChildren();
    byId("scales").hidden = state.map === "classes" || state.map === "none";
    if (state.map === "none") return;
    if (state.map === "classes") {
      element("p", `The ${data.classes.family} that takes most of each patch, and its share of the patient's patches.`, legend);
      const list = element("ul", undefined, legend);
      const [count, grey, rest] = data.classes.others;
      for (const [name, colour, share] of [...data.classes.shown, ...(count ? [[`${count} others`, grey, rest]] : [])]) {
        const item = element("li", undefined, list);
        const swatch = element("i", undefined, item);
        swatch.className = "swatch";
        swatch.style.background = colour;
        item.append(`${name} (${share > 0 && share < 0.005 ? "under 1" : Math.round(100 * share)}%)`);
      }
      return;
    }
    const map = data.maps[Number(state.map)];
    element("p", `${map.name}: ${map.meaning}. Colours: ${state.scale === "raw" ? "the number itself" : "percentile among all patches of the patient"}.`, legend);
    const bar = element("canvas", undefined, legend);
    bar.width = 256;
    bar.height = 1;
    amounts.forEach((colour, x) => { bar.getContext("2d").fillStyle = colour; bar.getContext("2d").fillRect(x, 0, 1, 1); });
    const ends = element("div", undefined, legend);
    ends.className = "ends";
    element("span", state.scale === "raw" ? map.low : "0", ends);
    element("span", state.scale === "raw" ? map.high : "100", ends);
  }

  function show(row) {
    const slide = current();
    state.row = row;
    const panel = byId("patch");
    panel.replaceChildren();
    if (row < 0) {
      element("p", "No patch here. Click a patch to see its numbers.", panel).className = "quiet";
    } else {
      const where = `Patch at ${slide.coords[2 * row]}, ${slide.coords[2 * row + 1]}, ${slide.side} level-0 pixels wide`;
      element("p", slide.assigned ? `${where}: ${data.classes.names[slide.assigned[row]]}` : where, panel);
      const table = element("table", undefined, panel);
      const head = element("tr", undefined, element("thead", undefined, table));
      element("th", "map", head);
      element("td", "number", head);
      element("td", "percentile", head);
      const body = element("tbody", undefined, table);
      data.maps.forEach((map, number) => {
        const line = element("tr", undefined, body);
        element("th", map.name, line);
        element("td", Number(slide.raw[number][row].toPrecision(3)).toString(), line);
        element("td", slide.percentile[number][row].toFixed(1), line);
      });
    }
    place();
  }

  function patchAt(point) {
    const slide = current();
    const enlarged = slide.extent[0] / slide.size[0];
    const [x, y] = [point.x * enlarged, point.y * enlarged];
    for (let row = slide.coords.length / 2 - 1; row >= 0; row--) {
      const [left, top] = [slide.coords[2 * row], slide.coords[2 * row + 1]];
      if (x >= left && y >= top && x < left + slide.side && y < top + slide.side) return row;
    }
    return -1;
  }

  function go(row) {
    const slide = current();
    const shrunk = slide.size[0] / slide.extent[0];
    const around = slide.side * 6;
    const [x, y] = [slide.coords[2 * row] - around, slide.coords[2 * row + 1] - around].map((one) => one * shrunk);
    const side = (2 * around + slide.side) * shrunk;
    viewer.viewport.fitBounds(viewer.world.getItemAt(0).imageToViewportRectangle(x, y, side, side));
    show(row);
    byId("viewer").scrollIntoView({ block: "nearest" });
  }

  function changed() {
    explain();
    paint();
    place();
  }

  const choice = byId("map");
  if (data.classes) choice.add(new Option(`${data.classes.family} of each patch`, "classes"));
  data.maps.forEach((map, number) => choice.add(new Option(map.name, String(number))));
  choice.add(new Option("no map", "none"));
  choice.value = state.map;
  choice.addEventListener("change", () => { state.map = choice.value; changed(); });
  document.querySelectorAll("input[name=scale]").forEach((radio) => radio.addEventListener("change", () => { state.scale = radio.value; changed(); }));
  byId("opacity").addEventListener("input", place);
  byId("slide").addEventListener("change", () => open(Number(byId("slide").value), () => show(-1)));
  byId("closer").addEventListener("click", () => viewer.viewport.zoomBy(1.6).applyConstraints());
  byId("farther").addEventListener("click", () => viewer.viewport.zoomBy(1 / 1.6).applyConstraints());
  byId("whole").addEventListener("click", () => viewer.viewport.goHome());
  document.querySelectorAll(".top").forEach((button) => button.addEventListener("click", () => {
    const [slide, row] = [Number(button.dataset.slide), Number(button.dataset.row)];
    if (slide === state.slide) go(row); else open(slide, () => go(row));
  }));
  viewer.addHandler("update-viewport", place);
  viewer.addHandler("resize", place);
  viewer.addHandler("canvas-click", (event) => {
    if (!event.quick) return;
    show(patchAt(viewer.world.getItemAt(0).viewerElementToImageCoordinates(event.position)));
  });
  explain();
  open(0);
})();
