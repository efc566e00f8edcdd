// The picture by other preprocessings, side by side: what the commonest mistakes change.

import {el, percent, say, tell} from "./dom.js";
import {look, query} from "./api.js";
import {Latest, emit, state} from "./state.js";
import {onCanvas} from "./png.js";
import {describe} from "./crop.js";
import {frame} from "./picture.js";

const latest = new Latest(), latestOwn = new Latest();
const line = el("p", {class: "status", role: "status"});
const choices = {
  order: [["rgb", "red, green, blue"], ["bgr", "blue, green, red"]],
  filter: [["bilinear", "bilinear"], ["bicubic", "bicubic"], ["bilinear-aliased", "bilinear, aliased"], ["bicubic-aliased", "bicubic, aliased"]],
  resize: [["keep", "shape kept"], ["squash", "squashed"]],
  orient: [["upright", "turned by EXIF"], ["stored", "as stored"]],
};
const titles = {order: "Channels", filter: "Filter", resize: "Rescaling", orient: "Orientation"};
const selects = Object.fromEntries(Object.entries(choices).map(([name, list]) => [name, el("select", {id: "own-" + name, onchange: own}, ...list.map(([value, text]) => el("option", {value}, text)))]));
const cards = el("div", {class: "cards"});
const ownCard = card("Of your choice");
const root = el("div", {class: "view"}, el("section", {"aria-labelledby": "preprocessing-title"},
  el("h2", {id: "preprocessing-title"}, "Preprocessing, side by side"),
  el("p", {class: "quiet"}, "The commonest reason for a network that works worse than it should: it is shown something else than what it was trained on."),
  line, cards),
el("section", {"aria-labelledby": "own-title", class: "own"}, el("h2", {id: "own-title"}, "Any other"),
  el("div", {class: "row"}, ...Object.entries(selects).map(([name, s]) => el("label", {}, titles[name] + " ", s))), ownCard.root));

let crop = null; // of the weights' own preprocessing, in the picture

function card(title) {
  const canvas = el("canvas", {role: "img", width: 224, height: 224}), list = el("table", {}), text = el("p", {class: "status"});
  return {title, canvas, list, text, root: el("article", {class: "card"}, el("h3", {}, title), canvas, text, list)};
}

/** ask fills a card with the crop and its classes; before is the answer to compare with. */
async function ask(c, parameters, before, signal) {
  say(c.text, "Looking …", "busy");
  try {
    const a = await look("v1/preprocess" + query({model: state.model, top: 3, ...parameters}), state.picture.file, signal);
    await onCanvas(c.canvas, a.picture);
    signal.throwIfAborted();
    c.canvas.setAttribute("aria-label", `The crop, ${c.title}: ${describe(a)}`);
    const top = a.top ?? a.labels ?? a.scores ?? [], was = new Map((before?.top ?? []).map((t) => [t.class, t.probability]));
    const delta = top[0]?.probability !== undefined && before?.top ? top[0].probability - (was.get(top[0].class) ?? 0) : null;
    const other = before?.top?.[0] && top[0]?.class !== before.top[0].class;
    say(c.text, !before ? "What the weights ask for." : other ? "Another class." : delta === null ? "" : Math.abs(delta) < .0005 ? "The same class, as sure." : `The same class, ${percent(Math.abs(delta))} ${delta < 0 ? "less" : "more"} sure.`, other ? "bad" : "");
    c.list.replaceChildren(el("caption", {class: "hidden"}, `Classes, ${c.title}`), el("tbody", {}, ...top.map((t) => el("tr", {}, el("th", {scope: "row"}, t.class), el("td", {}, t.probability === undefined ? String(t.score) : percent(t.probability))))));
    return a;
  } catch (e) {
    tell(c.text, e);
    if (!before) throw e;
    return null;
  }
}

let base = null;

async function refresh() {
  const signal = latest.next();
  latestOwn.stop();
  crop = base = null;
  cards.replaceChildren();
  root.querySelector(".own").hidden = true;
  emit("draw");
  if (!state.picture) {
    say(line, "Choose a picture: what the network sees of it comes here.");
    return;
  }
  say(line, "");
  const own = card("As the weights say");
  cards.append(own.root);
  try {
    base = await ask(own, {}, null, signal);
  } catch {
    return;
  }
  crop = base;
  emit("draw");
  for (const [name, list] of Object.entries(selects)) list.value = baseValue(name);
  const s = base.preprocess;
  const others = [
    ["Red and blue swapped", {order: "bgr"}],
    [s.fit === "squash" ? "Shape kept" : "Squashed to a square", {resize: s.fit === "squash" ? "keep" : "squash"}],
    ["Another filter", {filter: s.filter === "bilinear-aliased" ? "bilinear" : "bilinear-aliased"}],
    [s.orient === "upright" ? "EXIF not heeded" : "Turned by EXIF", {orient: s.orient === "upright" ? "stored" : "upright"}],
  ].map(([title, parameters]) => [card(title), parameters]);
  cards.append(...others.map(([c]) => c.root));
  for (const [c] of others) say(c.text, "Comes …", "busy");
  for (const [c, parameters] of others) {
    await ask(c, parameters, base, signal);
    if (signal.aborted) return;
  }
  root.querySelector(".own").hidden = false;
  own.root.focus?.();
  ownFirst();
}

const baseValue = (name) => ({order: "rgb", filter: base.preprocess.filter, resize: base.preprocess.fit ?? "keep", orient: base.preprocess.orient ?? "stored"})[name];

function ownFirst() {
  say(ownCard.text, "");
  own();
}

/** own asks for the preprocessing of the selects. */
function own() {
  if (base) ask(ownCard, Object.fromEntries(Object.entries(selects).map(([name, s]) => [name, s.value])), base, latestOwn.next());
}

/** overlay frames the crop in the picture. */
function overlay(pen, w, h, picture) {
  picture();
  if (!crop) return;
  const sx = w / crop.width, sy = h / crop.height;
  frame(pen, crop.crop.x * sx, crop.crop.y * sy, crop.crop.width * sx, crop.crop.height * sy);
}

export const view = {root, refresh, overlay};
