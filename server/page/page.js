// The page: one picture, one model, and views of them, each at an address of its own. Nothing
// is loaded from another host.

import {$, el} from "./dom.js";
import {forgetKey, json} from "./api.js";
import {emit, on, state} from "./state.js";
import {receive, samples, setOverlay} from "./picture.js";
import {view as look} from "./look.js";

// The modules of the other views are loaded when somebody looks at them.
const views = {
  picture: async () => look,
  channels: async () => (await import("./channels.js")).view,
  similar: async () => (await import("./similar.js")).view,
  boxes: async () => (await import("./boxes.js")).view,
  preprocessing: async () => (await import("./preprocessing.js")).view,
  training: async () => (await import("./training.js")).view,
  teach: async () => (await import("./teach.js")).view,
};

let current = null;        // the view that is shown
let version = 0;           // of the picture and the model
const seen = new Map();    // view → version that it has shown

const named = () => (views[location.hash.slice(1)] ? location.hash.slice(1) : "picture");

async function show() {
  const name = named();
  const view = await views[name]();
  if (current === view || name !== named()) return; // another was chosen while this one loaded
  current?.leave?.();
  current = view;
  document.body.dataset.view = name;
  for (const a of document.querySelectorAll("nav a")) {
    if (a.hash === "#" + name) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  reveal();
  document.title = name === "picture" ? "vgg" : `${name[0].toUpperCase()}${name.slice(1)} · vgg`;
  $("panel").replaceChildren(view.root);
  setOverlay(view.overlay ?? null);
  refresh();
}

/** reveal scrolls the names of the views sideways, where they have no room, to the one that is shown. */
function reveal() {
  const nav = document.querySelector("nav"), shown = nav.querySelector("[aria-current]")?.getBoundingClientRect(), all = nav.getBoundingClientRect();
  if (shown) nav.scrollLeft += shown.left - all.left - (all.width - shown.width) / 2;
}

/** refresh lets the view that is shown ask anew if the picture or the model is another. */
function refresh() {
  if (!current) return;
  if (seen.get(current) !== version) {
    seen.set(current, version);
    current.refresh?.();
  }
  current.enter?.();
}

/** models lists the models, and keeps the chosen one if it is still there. */
async function models(choose = state.model) {
  const list = (await json("v2/repository/index", {method: "POST", body: "{}"})).filter((m) => m.state === "READY").map((m) => m.name);
  $("model").replaceChildren(...list.map((name) => el("option", {value: name}, name)));
  document.body.dataset.models = list.length;
  if (list.length === 0) return bare();
  $("model").value = list.includes(choose) ? choose : list[0];
  await pick();
}

/** bare shows a service without models: it may be that of a training run. */
async function bare() {
  try {
    await json("v1/runs");
    location.hash = "#training";
  } catch {
    throw new Error("No model is ready. The service's log says why.");
  }
}

async function pick() {
  const name = $("model").value;
  if (name === state.model && state.about) return;
  state.about = (await json("v2/models/" + encodeURIComponent(name))).parameters;
  state.model = name;
  emit("model");
}

for (const change of ["picture", "model"]) on(change, () => { version++; refresh(); });
on("models", () => models(state.wanted).catch(stuck));
$("model").addEventListener("change", () => pick().catch(stuck));
$("key").addEventListener("click", () => forgetKey().then(() => location.reload()));
addEventListener("hashchange", show);
new ResizeObserver(reveal).observe(document.querySelector("nav"));

/** stuck tells what keeps the whole page from working. */
function stuck(e) {
  $("panel").replaceChildren(el("p", {class: "status bad", role: "alert"}, e.message));
}

receive();
show();
models().then(samples).catch(stuck);
