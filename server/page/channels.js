// The channels of any layer, side by side; a chosen one lies over the picture, with the
// receptive field of one of its values.

import {$, el, number, plural, say, tell, fill} from "./dom.js";
import {json, look, query} from "./api.js";
import {Latest, emit, state} from "./state.js";
import {canvasOf, paint} from "./colour.js";
import {frame} from "./picture.js";
import {pixels} from "./png.js";

const first = 64; // channels that are asked for first

const latest = new Latest();
const line = el("p", {class: "status", role: "status"});
const byLayer = el("select", {id: "layer", onchange: ask});
const order = el("select", {id: "channel-order", onchange: arrange}, el("option", {value: "number"}, "by number"), el("option", {value: "value"}, "the most active first"));
const range = el("select", {id: "channel-range", onchange: recolour}, el("option", {value: "each"}, "each by itself"), el("option", {value: "all"}, "one for all"));
const grid = el("div", {class: "channels", role: "listbox", "aria-label": "Channels", onkeydown: walk});
const chosenTitle = el("h3", {}), chosenText = el("p", {});
const big = el("canvas", {class: "channel", tabIndex: 0, role: "img", onclick: point, onkeydown: step});
const table = el("table", {});
const chosen = el("section", {class: "chosen", hidden: true}, big, el("div", {}, chosenTitle, chosenText, el("p", {class: "quiet"}, "Click a place of it, or move by the arrow keys.")));
const details = el("details", {ontoggle: tabulate}, el("summary", {}, "The channels as a table"), el("div", {class: "scroll", tabIndex: 0, role: "region", "aria-label": "The channels as a table"}, table));
const root = el("div", {class: "view"}, el("section", {"aria-labelledby": "channels-title"},
  el("h2", {id: "channels-title"}, "Channels"),
  el("p", {class: "quiet"}, "What each filter of a layer answers to the central crop, from dark for nothing to yellow."),
  el("div", {class: "row"}, el("label", {}, "Layer ", byLayer), el("label", {}, "Order ", order), el("label", {}, "Colours ", range)),
  line, chosen, grid, details));

let model = "";        // whose layers are listed
let answer = null;     // the latest answer: geometry and the field
let channels = [];     // {number, grey, low, high, tile}
let mark = null;       // {channel, row, col}

async function refresh() {
  if (!state.model) return;
  if (model !== state.model) {
    try {
      const {layers} = await json("v1/layers" + query({model: state.model}));
      const before = byLayer.value;
      byLayer.replaceChildren(...layers.map((l) => el("option", {value: l.name}, `${l.name}: ${l.output[0]} of ${l.output[1]} × ${l.output[2]}`)));
      const names = layers.map((l) => l.name), convolutions = names.filter((n) => /^conv/.test(n));
      byLayer.value = names.includes(before) ? before : convolutions[Math.floor(convolutions.length / 2)] ?? names[0];
      model = state.model;
    } catch (e) {
      tell(line, e);
      return;
    }
  }
  ask();
}

/** ask shows the first channels as soon as they are there, and then the others. */
async function ask() {
  const signal = latest.next();
  answer = mark = null;
  channels = [];
  chosen.hidden = true;
  grid.replaceChildren();
  emit("draw");
  if (!state.picture) {
    say(line, "Choose a picture: what the layers make of it comes here.");
    return;
  }
  say(line, "Running the network up to the layer …", "busy");
  const part = (from, count) => look("v1/activations" + query({model: state.model, layer: byLayer.value, from, channels: count}), state.picture.file, signal);
  try {
    let from = 0;
    do {
      const a = await part(from, from === 0 ? first : "");
      await take(a, signal);
      from += a.minimum.length;
      say(line, from < a.channels ? `${from} of ${plural(a.channels, "channel")}; the others come …` : `${plural(a.channels, "channel")} of ${a.rows} × ${a.cols}. A value sees ${fieldText(a)}.`, from < a.channels ? "busy" : "");
    } while (from < answer.channels);
    arrange();
  } catch (e) {
    tell(line, e);
  }
}

const fieldText = (a) => a.field.whole ? "the whole crop" : `${a.field.size} × ${a.field.size} pixels of the crop`;

/** take cuts the picture of an answer into channels. */
async function take(a, signal) {
  const all = await pixels(a.picture);
  signal.throwIfAborted(); // another layer or picture has been chosen meanwhile
  const fresh = a.minimum.map((low, i) => {
    const grey = new Uint8ClampedArray(a.rows * a.cols), x0 = i % a.tiles.columns * a.cols, y0 = Math.floor(i / a.tiles.columns) * a.rows;
    for (let r = 0; r < a.rows; r++) for (let c = 0; c < a.cols; c++) grey[r * a.cols + c] = all.data[4 * ((y0 + r) * all.width + x0 + c)];
    return {number: a.from + i, grey, low, high: a.maximum[i]};
  });
  answer = a;
  channels.push(...fresh);
  grid.style.setProperty("--least", a.cols > 60 ? "5.5rem" : a.cols > 20 ? "4rem" : "3.25rem");
  for (const c of fresh) grid.append(tile(c));
  if (grid.querySelector("[tabindex='0']") === null && grid.firstChild) grid.firstChild.tabIndex = 0;
}

function tile(c) {
  c.tile = el("div", {role: "option", tabIndex: -1, "aria-selected": "false", title: `Channel ${c.number}`, "aria-label": `Channel ${c.number}, ${number(c.low, 3)} to ${number(c.high, 3)}`, onclick: () => choose(c)});
  colour(c);
  return c.tile;
}

/** values are those of a channel, as far as 256 greys tell them. */
const valueOf = (c, i) => c.low + c.grey[i] / 255 * (c.high - c.low);

function limits(c) {
  if (range.value === "each") return [c.low, c.high];
  return [Math.min(...channels.map((k) => k.low)), Math.max(...channels.map((k) => k.high))];
}

function colour(c, [low, high] = limits(c)) {
  const scale = (v) => (v - low) / (high - low || 1);
  const values = Float32Array.from(c.grey, (_, i) => scale(valueOf(c, i)));
  c.tile.replaceChildren(canvasOf(paint(values, answer.rows, answer.cols, 0, 1)));
}

function recolour() {
  if (!answer) return;
  const all = range.value === "all" ? limits(null) : undefined;
  for (const c of channels) colour(c, all);
  show();
}

/** arrange puts the tiles in the chosen order. */
function arrange() {
  if (range.value === "all") recolour();
  channels.sort(order.value === "value" ? (a, b) => b.high - a.high : (a, b) => a.number - b.number);
  grid.append(...channels.map((c) => c.tile));
  tabulate();
}

/** walk moves between the tiles by the keys. */
function walk(e) {
  const tiles = [...grid.children], at = tiles.indexOf(document.activeElement);
  if (at < 0) return;
  if (e.key === "Enter" || e.key === " ") {
    e.preventDefault();
    choose(channels.find((c) => c.tile === tiles[at]));
    return;
  }
  const columns = tiles.filter((t) => t.offsetTop === tiles[0].offsetTop).length;
  const by = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: tiles.length - 1 - at}[e.key];
  if (by === undefined || !tiles[at + by]) return;
  e.preventDefault();
  tiles[at].tabIndex = -1;
  tiles[at + by].tabIndex = 0;
  tiles[at + by].focus();
}

/** choose shows a channel, at first the place of its greatest value. */
function choose(c) {
  const at = c.grey.indexOf(Math.max(...c.grey));
  mark = {channel: c, row: Math.floor(at / answer.cols), col: at % answer.cols};
  for (const k of channels) k.tile.setAttribute("aria-selected", String(k === c));
  for (const t of grid.children) t.tabIndex = t === c.tile ? 0 : -1;
  chosen.hidden = false;
  show();
}

function point(e) {
  const box = big.getBoundingClientRect(), {rows, cols} = answer;
  mark.col = Math.min(cols - 1, Math.max(0, Math.floor((e.clientX - box.left) / box.width * cols)));
  mark.row = Math.min(rows - 1, Math.max(0, Math.floor((e.clientY - box.top) / box.height * rows)));
  show();
}

function step(e) {
  const [dr, dc] = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0]}[e.key] ?? [];
  if (dr === undefined) return;
  e.preventDefault();
  mark.row = Math.min(answer.rows - 1, Math.max(0, mark.row + dr));
  mark.col = Math.min(answer.cols - 1, Math.max(0, mark.col + dc));
  show();
}

function show() {
  if (!mark) return;
  const {channel: c, row, col} = mark, {rows, cols, layer} = answer;
  const side = 448, pen = big.getContext("2d");
  big.width = side;
  big.height = Math.max(16, Math.round(side * rows / cols));
  pen.imageSmoothingEnabled = false;
  pen.drawImage(c.tile.firstChild, 0, 0, big.width, big.height);
  const cw = big.width / cols, ch = big.height / rows;
  frame(pen, col * cw, row * ch, Math.max(cw, 5), Math.max(ch, 5), 2);
  chosenTitle.textContent = `Channel ${c.number} of ${layer}`;
  const value = valueOf(c, row * cols + col);
  chosenText.textContent = `From ${number(c.low, 3)} to ${number(c.high, 3)}. At row ${row}, column ${col} about ${number(value, 3)}: that place sees ${fieldText(answer)}, framed in the picture.`;
  big.setAttribute("aria-label", `Channel ${c.number} of ${layer}; marked is row ${row}, column ${col}, about ${number(value, 3)}`);
  emit("draw");
}

const mostRows = 512;

function tabulate() {
  if (!details.open || !answer) return;
  fill(table, `Channels of ${answer.layer}`, ["Channel", "Least", "Greatest"], channels.slice(0, mostRows).map((c) => [String(c.number), number(c.low), number(c.high)]));
}

/** overlay shows what of the picture the network sees, and the receptive field in it. */
function overlay(pen, w, h, picture) {
  picture();
  if (!answer) return;
  const {crop, width, height, side, field} = answer, sx = w / width, sy = h / height;
  const [x, y, cw, ch] = [crop.x * sx, crop.y * sy, crop.width * sx, crop.height * sy];
  pen.fillStyle = "rgba(0, 0, 0, .45)";
  pen.beginPath();
  pen.rect(0, 0, w, h);
  pen.rect(x, y, cw, ch);
  pen.fill("evenodd");
  if (!mark) return;
  pen.save();
  pen.beginPath();
  pen.rect(x, y, cw, ch);
  pen.clip();
  const {size, stride, start} = field.whole ? {size: side, stride: 0, start: 0} : field, px = cw / side, py = ch / side;
  frame(pen, x + (start + mark.col * stride) * px, y + (start + mark.row * stride) * py, size * px, size * py, 3);
  pen.restore();
  $("canvas").setAttribute("aria-label", `The picture ${state.picture.name} with the receptive field of channel ${mark.channel.number} of ${answer.layer} at row ${mark.row}, column ${mark.col}`);
}

export const view = {root, refresh, overlay};
