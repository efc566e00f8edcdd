// Where a class is in the picture: its class score map at any scale, Grad-CAM or saliency, over
// the picture.

import {$, el, number, percent, plural, say, tell} from "./dom.js";
import {json, look, query} from "./api.js";
import {Latest, state, emit} from "./state.js";
import {canvasOf, enlarge, legend, paint} from "./colour.js";
import {frame} from "./picture.js";

const latest = new Latest();
const line = el("p", {class: "status", role: "status"});
const text = el("p", {class: "finding"});
const byClass = el("select", {id: "map-class", oninput: () => choose(Number(byClass.value))});
const byScale = el("select", {id: "map-scale", oninput: () => { wanted.scale = Number(byScale.value); ask(); }});
const byMethod = el("select", {id: "map-method", oninput: method},
  el("option", {value: "scoremap"}, "Class score map"), el("option", {value: "gradcam"}, "Grad-CAM"), el("option", {value: "saliency"}, "Saliency"));
const byLayer = el("select", {id: "map-layer", oninput: ask});
const layerLabel = el("label", {hidden: true}, "Layer ", byLayer);
const opacity = el("input", {id: "opacity", type: "range", min: 0, max: 100, value: 65, oninput: () => emit("draw")});
const top = el("select", {id: "map-top", oninput: show}, el("option", {value: "all"}, "100 %"), el("option", {value: "own"}, "the map’s highest"));
const topLabel = el("label", {}, "Colours up to ", top);
const cells = el("input", {id: "map-cells", type: "checkbox", oninput: () => emit("draw")});
const cellsLabel = el("label", {}, cells, " Cells as they are"); // saliency has a cell for each pixel
const table = el("table", {});
const low = el("span", {}, "0 %"), high = el("span", {}, "100 %");
export const root = el("section", {"aria-labelledby": "map-title", hidden: true, class: "map"},
  el("h2", {id: "map-title"}, "Where"),
  el("div", {class: "row"},
    el("label", {}, "Shown ", byMethod), layerLabel,
    el("label", {}, "Class ", byClass), el("label", {}, "Scale ", byScale), el("label", {}, "Opacity ", opacity),
    topLabel, cellsLabel),
  el("div", {class: "legend"}, low, legend(), high),
  text, line,
  el("details", {ontoggle: tabulate}, el("summary", {}, "The map as a table"), el("div", {class: "scroll", tabIndex: 0, role: "region", "aria-label": "The map as a table"}, table)));

let maps = new Map();                 // key(scale, class) → {values, scale, mean, kind}
let wanted = {class: -1, scale: 0};   // what is asked for
let layersOf = "";                    // the model whose layers are listed
let shown = null;                     // the map that is drawn: the wanted one, or a coarser one until it is there
let listeners = [];

/** onChoice calls f with the index of each class that is chosen. */
export const onChoice = (f) => listeners.push(f);

const scored = () => byMethod.value === "scoremap";
const kind = () => byMethod.value === "gradcam" ? `gradcam ${byLayer.value}` : byMethod.value;
const key = (scale, index, of = kind()) => `${of} ${scale} ${index}`;

/** method is called when another method is chosen. Gradients begin at the weights' own scale. */
async function method() {
  layerLabel.hidden = byMethod.value !== "gradcam";
  topLabel.hidden = !scored();
  cellsLabel.hidden = byMethod.value === "saliency";
  if (byMethod.value === "gradcam") await layers();
  const base = state.about.preprocess.resize;
  wanted.scale = scored() ? 2 * base : base;
  choice();
  await ask();
}

/** layers lists the layers of the model that have a map. */
async function layers() {
  if (layersOf === state.model) return;
  try {
    const of = state.model, {layers: list} = await json("v1/layers" + query({model: of}));
    const names = list.filter((l) => l.output[1] * l.output[2] > 1).map((l) => l.name);
    byLayer.replaceChildren(...names.map((name) => el("option", {value: name}, name)));
    byLayer.value = names.filter((n) => /^conv/.test(n)).at(-1) ?? names.at(-1);
    layersOf = of;
  } catch (e) {
    tell(line, e);
  }
}

/** reset forgets the maps of an earlier picture. */
export function reset() {
  latest.stop();
  maps = new Map();
  shown = null;
  root.hidden = true;
}

/** start asks for the map of the most probable class: a coarse one first, then a finer one. */
export async function start(list, signal) {
  const n = state.about.classes?.length ?? 0, base = state.about.preprocess.resize;
  const scales = [...new Set([1, 1.25, 1.5, 2, 2.5, 3].map((f) => Math.round(base * f)))];
  const named = new Set(list.map((c) => c.index));
  byClass.replaceChildren(
    el("optgroup", {label: "Most probable"}, ...list.map((c) => el("option", {value: c.index}, c.class))),
    el("optgroup", {label: "All others"}, ...Array.from({length: n}, (_, i) => i).filter((i) => !named.has(i)).map((i) => el("option", {value: i}, state.about.classes[i]))));
  const before = Number(byScale.value);
  byScale.replaceChildren(...scales.map((q) => el("option", {value: q}, `${q} pixels`)));
  wanted = {class: list[0]?.index ?? 0, scale: base};
  root.hidden = false;
  text.replaceChildren();
  choice();
  if (!scored()) { // another picture or model, seen in the same way
    await method();
    return;
  }
  say(line, looking(), "busy");
  try {
    await fetchMap(base, wanted.class, signal, list.length);
  } catch (e) {
    tell(line, e);
    return;
  }
  wanted.scale = scales.includes(before) ? before : 2 * base;
  choice();
  await ask();
}

/** choose asks for the map of a class. */
export function choose(index) {
  wanted.class = index;
  choice();
  ask();
}

function choice() {
  byClass.value = String(wanted.class);
  byScale.value = String(wanted.scale);
  for (const f of listeners) f(wanted.class);
}

/** looking says what is being computed. */
const looking = () => scored() ? `Looking at every place of the picture at ${wanted.scale} pixels …` : `Asking what changes the score, at ${wanted.scale} pixels …`;

/** ask shows the wanted map, and what there is until it has come. */
async function ask() {
  const signal = latest.next();
  show();
  if (maps.has(key(wanted.scale, wanted.class))) {
    say(line, "");
    return;
  }
  say(line, looking(), "busy");
  try {
    await fetchMap(wanted.scale, wanted.class, signal);
    say(line, "");
  } catch (e) {
    tell(line, e);
  }
}

/** fetchMap asks for the map of a class at a scale, with those of the classes beside it. */
async function fetchMap(scale, index, signal, beside = 5) {
  const options = [...byClass.options].slice(0, beside).map((o) => Number(o.value));
  // The score maps of all classes come from one pass; of gradients each takes one of its own.
  const of = kind(), gradients = !scored();
  const classes = gradients ? index : [...new Set([index, ...options])].join(",");
  const layer = byMethod.value === "gradcam" ? byLayer.value : "";
  const answer = await look("v1/explain" + query({model: state.model, scales: scale, classes, maps: 1, method: byMethod.value, layer}), state.picture.file, signal);
  signal.throwIfAborted();
  answer.top.forEach((c, i) => maps.set(key(scale, c.index, of), {
    values: gradients ? shares(answer.maps[i][0], answer.method) : answer.maps[i][0], scale: answer.scales[0], mean: c.at_scale[0], name: c.class,
    method: answer.method, layer: answer.layer, score: c.scores?.[0],
  }));
  show();
}

/** shares returns values as shares of the largest or, of saliency, of one of the largest. */
function shares(values, method) {
  const sorted = Float32Array.from(values).sort();
  const most = (method === "saliency" && sorted[Math.ceil(.995 * sorted.length) - 1]) || sorted.at(-1);
  return values.map((v) => most > 0 ? Math.min(1, v / most) : 0);
}

/** finding says in words what a map shows. */
function finding({scale, values, mean, name, method, layer, score}) {
  const who = el("strong", {}, name);
  if (method !== "scoremap" && largest(values) === 0) return [who, `: score ${number(score)} at ${scale.scale} pixels. Nothing ${method === "gradcam" ? `in ${layer} speaks for it` : "in the picture changes it"}.`];
  switch (method) {
    case "gradcam": return [who, `: score ${number(score)} at ${scale.scale} pixels. Yellow is where ${layer} speaks most for it, dark where it says nothing or speaks against it.`];
    case "saliency": return [who, `: score ${number(score)} at ${scale.scale} pixels. Yellow are the pixels that change it most.`];
  }
  return [who, `: ${percent(mean)} over the picture at ${scale.scale} pixels. In the framed window of ${scale.window} × ${scale.window} pixels it is most probable, ${percent(largest(values))}.`];
}

const largest = (values) => values.reduce((a, b) => Math.max(a, b), 0);

/** show draws the wanted map, or else the finest that there is of its class. */
function show() {
  const exact = maps.get(key(wanted.scale, wanted.class));
  const others = [...maps.entries()].filter(([k]) => k.startsWith(kind() + " ") && k.endsWith(` ${wanted.class}`)).map(([, m]) => m);
  shown = exact ?? others.at(-1) ?? null;
  if (shown) {
    text.replaceChildren(...finding(shown));
    low.textContent = shown.method === "scoremap" ? "0 %" : "nothing";
    high.textContent = shown.method !== "scoremap" ? "most" : top.value === "own" ? percent(largest(shown.values)) : "100 %";
  } else {
    text.replaceChildren();
  }
  tabulate();
  emit("draw");
}

const mostCells = 40; // rows and columns of the table

/** tabulate fills the table; a finer map has the largest value of each block in it. */
function tabulate() {
  if (!shown || !root.querySelector("details").open) return;
  const {scale, values, name, method} = shown;
  const by = Math.ceil(Math.max(scale.rows, scale.cols) / mostCells), rows = Math.ceil(scale.rows / by), cols = Math.ceil(scale.cols / by);
  const cell = new Float32Array(rows * cols);
  values.forEach((v, i) => {
    const at = Math.floor(Math.floor(i / scale.cols) / by) * cols + Math.floor(i % scale.cols / by);
    cell[at] = Math.max(cell[at], v);
  });
  const what = method === "scoremap" ? `in per cent, by windows of ${scale.window} pixels that are ${scale.stride} apart` : `in per cent of the most, by places that are ${plural(scale.stride, "pixel")} apart`;
  table.replaceChildren(
    el("caption", {}, `${name}, ${what} at ${scale.scale} pixels${by > 1 ? `; the largest of ${by} × ${by} of them` : ""}`),
    el("tbody", {}, ...Array.from({length: rows}, (_, r) => el("tr", {}, ...Array.from({length: cols}, (_, c) => el("td", {}, (100 * cell[r * cols + c]).toFixed(1)))))));
}

/** spread draws a picture between the inner two of x and of y, and its edge from there outwards. */
function spread(pen, picture, x, y) {
  const {width, height} = picture, from = (n) => [[0, 1], [0, n], [n - 1, 1]];
  for (const [i, [u, du]] of from(width).entries()) {
    for (const [k, [v, dv]] of from(height).entries()) {
      const [x0, x1, y0, y1] = [x[i], x[i + 1], y[k], y[k + 1]].map(Math.round);
      if (x1 > x0 && y1 > y0) pen.drawImage(picture, u, v, du, dv, x0, y0, x1 - x0, y1 - y0);
    }
  }
}

/** overlay lays the map over a picture that loses its own colours as the map gets opaque. */
export function overlay(pen, w, h, picture) {
  const share = Number(opacity.value) / 100;
  if (!shown || root.hidden) return picture();
  pen.filter = `grayscale(${Math.min(1, 1.5 * share)})`;
  picture();
  pen.filter = "none";
  const {scale, values, name, method} = shown, sx = w / scale.width, sy = h / scale.height;
  const most = method === "scoremap" && top.value === "own" ? largest(values) : 1;
  const fine = cells.checked || scale.stride === 1 ? {values, rows: scale.rows, cols: scale.cols} : enlarge(values, scale.rows, scale.cols, 12);
  // Each value belongs to the middle of its window, and the cell around it is a stride wide. The
  // cells at the edge go on to the edge of the picture, which their windows see.
  const colours = canvasOf(paint(fine.values, fine.rows, fine.cols, 0, most));
  const first = scale.window / 2 - scale.stride / 2, last = (n) => first + n * scale.stride;
  pen.globalAlpha = share;
  pen.imageSmoothingEnabled = !cells.checked;
  spread(pen, colours, [0, first * sx, last(scale.cols) * sx, w], [0, first * sy, last(scale.rows) * sy, h]);
  pen.imageSmoothingEnabled = true;
  pen.globalAlpha = 1;
  $("canvas").setAttribute("aria-label", `The picture ${state.picture.name} with the ${{scoremap: "class score map", gradcam: "Grad-CAM", saliency: "saliency"}[method]} of ${name} over it`);
  if (method !== "scoremap") return;
  const best = values.indexOf(largest(values));
  frame(pen, (best % scale.cols) * scale.stride * sx, Math.floor(best / scale.cols) * scale.stride * sy, scale.window * sx, scale.window * sy, 2);
}
