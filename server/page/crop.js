// What the network sees of the picture: the crop after preprocessing.

import {el, say, tell} from "./dom.js";
import {look, query} from "./api.js";
import {state} from "./state.js";
import {onCanvas} from "./png.js";

const canvas = el("canvas", {role: "img"});
const text = el("p", {}), line = el("p", {class: "status", role: "status"});
export const root = el("section", {"aria-labelledby": "crop-title", hidden: true},
  el("h2", {id: "crop-title"}, "What the network sees"),
  el("div", {class: "crop"}, canvas, el("div", {}, text, line, el("p", {}, el("a", {href: "#preprocessing"}, "What another preprocessing would change")))));

export function reset() { root.hidden = true; }

/** describe says a preprocessing in words. */
export function describe(a) {
  const s = a.preprocess, r = (v) => Math.round(100 * v) / 100;
  const fit = s.fit === "squash" ? `squashed to ${s.resize} × ${s.resize}` : `the smaller side rescaled to ${s.resize}`;
  const std = s.std.every((v) => v === 1) ? "" : `, divided by ${s.std.map(r).join(", ")}`;
  return `${fit} pixels (${s.filter}), the middle ${a.side} × ${a.side} of it${s.scale === 1 ? "" : ", values from 0 to 1"}${s.mean.every((v) => v === 0) ? "" : `, less the mean ${s.mean.map(r).join(", ")}`}${std}`;
}

export async function start(signal) {
  canvas.width = canvas.height = 1; // nothing of the picture before
  canvas.setAttribute("aria-label", "Where the crop comes");
  text.textContent = "";
  say(line, "Preprocessing the picture …", "busy");
  root.hidden = false;
  try {
    const a = await look("v1/preprocess" + query({model: state.model}), state.picture.file, signal);
    await onCanvas(canvas, a.picture);
    canvas.setAttribute("aria-label", `The crop of ${a.side} × ${a.side} pixels that the network sees of ${state.picture.name}`);
    text.textContent = describe(a)[0].toUpperCase() + describe(a).slice(1) + ".";
    say(line, "");
  } catch (e) {
    tell(line, e);
  }
}
