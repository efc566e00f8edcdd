// The boxes of the objects in a picture.

import {$, el, percent, number, say, tell, plural} from "./dom.js";
import {json, look, query} from "./api.js";
import {Latest, emit, state} from "./state.js";

// Colours that people who don't see red and green apart can tell (Okabe and Ito 2008).
const colours = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2"];

const latest = new Latest();
const line = el("p", {class: "status", role: "status"});
const top = el("select", {id: "boxes-top", onchange: refresh}, ...[1, 2, 3, 5, 10].map((n) => el("option", {value: n, selected: n === 3}, plural(n, "class", "classes"))));
const which = el("select", {id: "boxes-which", onchange: refresh},
  el("option", {value: ""}, "the best box"), el("option", {value: "all-boxes"}, "all boxes"), el("option", {value: "unmerged"}, "each window’s box, before merging"));
const scale = el("select", {id: "boxes-scale", onchange: refresh});
const only = el("select", {id: "boxes-class", onchange: refresh});
const named = el("label", {hidden: true}, "Class ", only); // where nothing tells which classes the picture shows
const table = el("table", {class: "boxes"});
const controls = el("div", {class: "row"}, named, el("label", {}, "Of ", top), el("label", {}, "Show ", which), el("label", {}, "Scale ", scale));
const root = el("div", {class: "view"}, el("section", {"aria-labelledby": "boxes-title"},
  el("h2", {id: "boxes-title"}, "Boxes"), el("p", {class: "quiet"}, "Where the objects are: each window of the picture proposes a box, and those that agree are merged."), controls, line, el("div", {class: "scroll", tabIndex: 0, role: "region", "aria-labelledby": "boxes-title"}, table)));

let answer = null, marked = -1;

async function refresh() {
  const signal = latest.next();
  answer = null;
  table.replaceChildren();
  emit("draw");
  controls.hidden = scale.options.length === 0; // nothing to choose before the first answer
  if (!state.picture) {
    say(line, "Choose a picture: the boxes of its objects come here.");
    return;
  }
  say(line, "Looking for objects …", "busy");
  try {
    const about = await json("v1/localize", {signal}), rated = about.rated_by.length > 0;
    choose(about, rated);
    // The chosen model may know other classes than the boxes: one that knows them, if any, rates them.
    const model = about.rated_by.includes(state.model) ? state.model : "";
    answer = await look("v1/localize" + query({model, class: named.hidden ? "" : only.value, top: top.value, ...(scale.value ? {scales: scale.value} : {}), ...(which.value ? {[which.value]: "true"} : {})}), state.picture.file, signal);
    say(line, answer.boxes.length ? "" : "No box.");
    list();
    offer(answer.scales[0]);
    controls.hidden = false;
  } catch (e) {
    if (e.code === 501) say(line, "No localisation network is served: vgg serve … --localiser boxes.safetensors adds one, which vgg localize train makes.");
    else tell(line, e);
  }
  emit("draw");
}

/** choose offers the classes where no model tells them, and hides what they leave nothing to choose of. */
function choose(about, rated) {
  named.hidden = rated || about.single_class;
  top.parentElement.hidden = !rated;
  if (!named.hidden && only.options.length !== about.classes.length) only.replaceChildren(...about.classes.map((c) => el("option", {value: c}, c)));
}

/** offer fills in the scales, once the network's own is known: at others it sees smaller objects. */
function offer(own) {
  if (scale.options.length) return;
  scale.append(...[1, 1.25, 1.5, 2].map((f) => Math.round(own * f)).map((q, i) => el("option", {value: q}, i ? `${q} pixels` : `${q} pixels, the weights’ own`)));
}

/** order numbers the classes as they come, for their colours. */
function order() {
  const seen = [];
  return answer.boxes.map((b) => {
    const name = b.class ?? "";
    if (!seen.includes(name)) seen.push(name);
    return seen.indexOf(name);
  });
}

const most = 200; // rows of the table

function list() {
  const ranks = order();
  const rows = answer.boxes.slice(0, most).map((b, i) => {
    const swatch = el("span", {class: "swatch"});
    swatch.style.background = colours[ranks[i] % colours.length];
    const mark = (on) => () => { marked = on ? i : -1; emit("draw"); };
    return el("tr", {onpointerenter: mark(true), onpointerleave: mark(false)},
      el("th", {scope: "row"}, swatch, el("button", {class: "plain", onfocus: mark(true), onblur: mark(false)}, b.class ?? "object")),
      el("td", {}, b.probability === undefined ? "" : percent(b.probability)), el("td", {}, number(b.score, 3)), el("td", {}, String(b.windows)), el("td", {}, b.box.map((v) => Math.round(v)).join(", ")));
  });
  table.replaceChildren(
    el("caption", {}, `${plural(answer.boxes.length, "box", "boxes")} in pixels of the picture${answer.boxes.length > most ? `; the first ${most}` : ""}`),
    el("thead", {}, el("tr", {}, ...["Class", "Probability", "Score", "Windows", "Left, top, right, bottom"].map((h) => el("th", {scope: "col"}, h)))),
    el("tbody", {}, ...rows));
}

function overlay(pen, w, h, picture) {
  picture();
  if (!answer) return;
  const sx = w / answer.width, sy = h / answer.height, ranks = order();
  $("canvas").setAttribute("aria-label", `The picture ${state.picture.name} with ${plural(answer.boxes.length, "box", "boxes")}`);
  const many = answer.boxes.length > 20;
  for (let i = answer.boxes.length - 1; i >= 0; i--) {
    if (marked >= 0 && i !== marked) continue;
    const {box: [x0, y0, x1, y1], class: name, probability} = answer.boxes[i], colour = colours[ranks[i] % colours.length];
    const place = [x0 * sx, y0 * sy, (x1 - x0) * sx, (y1 - y0) * sy];
    pen.lineWidth = many ? 2 : 6;
    pen.strokeStyle = "rgba(0, 0, 0, .65)";
    if (!many) pen.strokeRect(...place);
    pen.lineWidth = many ? 1 : 3;
    pen.strokeStyle = colour;
    pen.strokeRect(...place);
    if (many && marked < 0) continue;
    const text = [name ?? "object", probability === undefined ? null : percent(probability, 0)].filter(Boolean).join(" ");
    pen.font = "600 17px system-ui, sans-serif";
    const wide = pen.measureText(text).width + 14, top = Math.max(0, place[1] - 26);
    pen.fillStyle = colour;
    pen.fillRect(place[0] - 1.5, top, wide, 26);
    pen.fillStyle = "#000";
    pen.fillText(text, place[0] + 6, top + 19);
  }
}

export const view = {root, refresh, overlay};
