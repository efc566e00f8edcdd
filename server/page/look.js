// The view of a picture: its classes, where they are, and what the network sees of it.

import {el, percent, say, tell} from "./dom.js";
import {look, query} from "./api.js";
import {Latest, state} from "./state.js";
import * as map from "./map.js";
import * as crop from "./crop.js";

const latest = new Latest();
const line = el("p", {class: "status", role: "status"});
const classes = el("table", {class: "classes", hidden: true});
const root = el("div", {class: "view"},
  el("section", {"aria-labelledby": "classes-title"}, el("h2", {id: "classes-title"}, "Classes"), line, classes),
  map.root,
  crop.root,
);

async function refresh() {
  const {picture, model} = state;
  map.reset();
  crop.reset();
  if (!picture) {
    say(line, "The most probable classes of the picture come here.");
    classes.hidden = true;
    return;
  }
  const signal = latest.next();
  say(line, "Looking at the picture …", "busy");
  try {
    const answer = await look("v1/classify" + query({model, top: 5}), picture.file, signal);
    const list = answer.top ?? answer.labels ?? answer.scores ?? [];
    say(line, list.length ? "" : "The network finds none of its labels here.");
    show(list);
    await Promise.all([map.start(list, signal), crop.start(signal)]);
  } catch (e) {
    if (e.name !== "AbortError") classes.hidden = true;
    tell(line, e);
  }
}

/** show lists the classes; one of them is chosen for the map. */
function show(list) {
  const rows = list.map((c) => {
    const value = c.probability ?? c.score;
    const row = el("tr", {},
      el("th", {scope: "row"}, el("button", {class: "plain", "aria-pressed": "false", onclick: () => map.choose(c.index)}, c.class)),
      el("td", {}, c.probability === undefined ? value.toPrecision(4) : percent(value)));
    row.dataset.index = c.index;
    row.style.setProperty("--share", String(c.probability === undefined ? 0 : value));
    return row;
  });
  classes.replaceChildren(
    el("caption", {class: "quiet"}, "Of the central crop. Choose one to see where it is."),
    el("tbody", {}, ...rows));
  classes.hidden = rows.length === 0;
}

map.onChoice((index) => {
  for (const row of classes.querySelectorAll("tr")) row.querySelector("button").setAttribute("aria-pressed", String(Number(row.dataset.index) === index));
});

export const view = {root, refresh, overlay: map.overlay, leave: () => {}};
