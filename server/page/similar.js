// Similar pictures and near-duplicates of an index.

import {el, plural, say, tell} from "./dom.js";
import {json, look, query} from "./api.js";
import {Latest, state} from "./state.js";
import {take} from "./picture.js";
import {Tiles} from "./tiles.js";

const latest = new Latest(), latestGroups = new Latest();
const line = el("p", {class: "status", role: "status"}), groupsLine = el("p", {class: "status", role: "status"});
const about = el("p", {class: "quiet"});
const found = new Tiles("Similar pictures, the most similar first");
const top = el("select", {id: "similar-top", onchange: refresh}, ...[12, 24, 48, 96].map((n) => el("option", {value: n}, String(n))));
const least = el("select", {id: "least"}, ...[0.99, 0.98, 0.95, 0.9].map((v) => el("option", {value: v}, String(v))));
const find = el("button", {onclick: duplicates}, "Find near-duplicates");
const groups = el("div", {class: "groups"});
const root = el("div", {class: "view"},
  el("section", {"aria-labelledby": "similar-title"}, el("h2", {id: "similar-title"}, "Similar pictures"), about, el("div", {class: "row"}, el("label", {}, "Show ", top)), line, found.root),
  el("section", {"aria-labelledby": "near-title"}, el("h2", {id: "near-title"}, "Near-duplicates in the index"),
    el("p", {class: "quiet"}, "Pictures that are almost the same: copies, other sizes, crops, the next frame."),
    el("div", {class: "row"}, el("label", {}, "Alike to at least ", least), find), groupsLine, groups));

const address = (p, side) => p.picture ? `v1/index/${p.index}/picture` + query({side}) : null;

let known = null;

async function refresh() {
  const signal = latest.next();
  found.clear(signal);
  say(line, "");
  try {
    known ??= await json("v1/index", {signal});
    about.textContent = `The index has ${plural(known.images ?? known.rows, "picture")}, each described by ${plural(known.dim, "number")}.`;
    if (!state.picture) {
      say(line, "Choose a picture: those that are like it come here.");
      return;
    }
    say(line, "Describing the picture and searching …", "busy");
    const answer = await look("v1/similar" + query({top: top.value}), state.picture.file, signal);
    say(line, answer.found.length ? "" : "The index has no picture.");
    for (const f of answer.found) found.add(address(f, 320), f.file, el("strong", {}, f.similarity.toFixed(3)), take);
  } catch (e) {
    without(e);
  }
}

/** without tells what is missing where no index is served. */
function without(e) {
  if (e.code === 501) {
    root.querySelectorAll(".row, .groups").forEach((n) => { n.hidden = true; });
    about.replaceChildren("No index of pictures is served. ", el("code", {}, "vgg index photos --out photos.npy"), " makes one of a folder, and ", el("code", {}, "vgg serve … --index photos.npy"), " searches it.");
    return;
  }
  tell(line, e);
}

async function duplicates() {
  const signal = latestGroups.next();
  groups.replaceChildren();
  find.disabled = true;
  say(groupsLine, "Comparing all pictures with each other …", "busy");
  try {
    const answer = await json("v1/index/duplicates" + query({duplicates: least.value}), {signal});
    const list = answer.duplicates;
    say(groupsLine, list.length ? `${plural(list.length, "group")} of pictures that are alike to at least ${least.value}${list.length > 50 ? "; the first 50" : ""}.` : `No two pictures are alike to ${least.value}.`);
    for (const [i, group] of list.slice(0, 50).entries()) {
      const tiles = new Tiles(`Group ${i + 1}`);
      tiles.clear(signal);
      groups.append(tiles.root);
      for (const p of group) tiles.add(address(p, 240), p.file, "", take);
    }
  } catch (e) {
    tell(groupsLine, e);
  } finally {
    find.disabled = false;
  }
}

export const view = {root, refresh};
