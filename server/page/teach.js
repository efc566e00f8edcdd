// Teach: pictures of a few classes become a classifier, which is tried at once and kept as a
// file.

import {el, percent, plural, say, tell} from "./dom.js";
import {blob, json, lines, query, request} from "./api.js";
import {emit, state} from "./state.js";
import {imagesOf} from "./picture.js";
import {classesDropped, shrunk} from "./files.js";

const shownPictures = 17; // of a class; the rest is a number

let classes = [];      // {name, files: [{file, url}]}
let working = null;    // AbortController of what is being taught
let taught = null;     // the answer
let sent = [];         // the pictures that it was taught with, in order

const grid = el("div", {class: "lessons"});
const line = el("p", {class: "status", role: "status"});
const bar = el("progress", {hidden: true, max: 1, "aria-label": "Progress of teaching"});
const name = el("input", {type: "text", value: "taught", maxLength: 40, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*", autocomplete: "off", spellcheck: false});
const go = el("button", {class: "primary", onclick: teach}, "Teach");
const stop = el("button", {hidden: true, onclick: () => working?.abort()}, "Stop");
const folder = el("input", {type: "file", webkitdirectory: true, multiple: true, hidden: true, "aria-label": "A folder with a folder for each class", onchange: () => {
  for (const f of folder.files) {
    const parts = f.webkitRelativePath.split("/");
    add(parts.at(-2), [f]);
  }
  folder.value = "";
  draw();
}});
const fill = el("button", {hidden: true, onclick: examples}, "Fill in photographs to try it");
const result = el("section", {class: "taught", hidden: true, "aria-labelledby": "taught-title"});
const root = el("div", {class: "view teach"},
  el("section", {"aria-labelledby": "teach-title"},
    el("h2", {id: "teach-title"}, "Teach the network something new"),
    el("p", {class: "lead"}, "Name a few classes and drop pictures of each. It learns to tell them apart in seconds."),
    el("p", {class: "quiet"}, "Ten pictures of a class make a beginning. Dropped folders become classes by their names."),
    grid,
    el("div", {class: "row"}, el("label", {}, "Call it ", name), go, stop, el("button", {onclick: () => folder.click()}, "Choose a folder of classes"), folder, fill),
    bar, line),
  result);

for (const kind of ["dragenter", "dragover"]) root.addEventListener(kind, (e) => {
  const card = e.target.closest(".lesson");
  for (const c of grid.children) c.classList.toggle("over", c === card);
});
root.addEventListener("drop", async (e) => {
  e.preventDefault();
  const card = e.target.closest(".lesson"), at = [...grid.children].indexOf(card);
  for (const c of grid.children) c.classList.remove("over");
  const folders = await classesDropped(e.dataTransfer);
  for (const [title, files] of folders) {
    if (title !== null) add(title, files);
    else if (files.length) add(at >= 0 && classes[at] ? at : null, files);
  }
  draw();
});

/** add puts pictures to the class of a name or place; without one, to the first without pictures. */
function add(which, files) {
  let c;
  if (typeof which === "number") c = classes[which];
  else if (which === null) c = classes.find((k) => k.files.length === 0);
  else c = classes.find((k) => k.name.trim().toLowerCase() === which.toLowerCase()) ?? classes.find((k) => k.name === "" && k.files.length === 0);
  if (!c) classes.push(c = {name: "", files: []});
  if (typeof which === "string") c.name ||= which;
  c.files.push(...files.filter((f) => imagesOf({files: [f]}).length).map((file) => ({file, url: URL.createObjectURL(file)})));
}

function draw() {
  while (classes.length < 2) classes.push({name: "", files: []});
  grid.replaceChildren(...classes.map(card), el("button", {class: "another", onclick: () => { classes.push({name: "", files: []}); draw(); grid.children[classes.length - 1].querySelector("input").focus(); }}, "Another class"));
  ready();
}

function card(c, i) {
  const input = el("input", {type: "file", accept: "image/*", multiple: true, hidden: true, "aria-label": `Pictures of class ${i + 1}`, onchange: () => { add(i, [...input.files]); draw(); }});
  const title = el("input", {type: "text", value: c.name, placeholder: `Class ${i + 1}`, "aria-label": `Name of class ${i + 1}`, autocomplete: "off", oninput: () => { c.name = title.value; ready(); }});
  const pictures = c.files.slice(0, shownPictures).map((f, k) => {
    const image = el("img", {alt: f.file.name, loading: "lazy"});
    image.src = f.url;
    return el("li", {}, el("button", {class: "thumb", title: "Remove it", "aria-label": `Remove ${f.file.name}`, onclick: () => { URL.revokeObjectURL(f.url); c.files.splice(k, 1); draw(); }}, image));
  });
  if (c.files.length > shownPictures) pictures.push(el("li", {class: "more"}, `+${c.files.length - shownPictures}`));
  return el("div", {class: "lesson", role: "group", "aria-label": c.name || `Class ${i + 1}`},
    el("div", {class: "row"}, title, classes.length > 2 && el("button", {class: "plain", "aria-label": `Remove class ${i + 1}`, title: "Remove the class", onclick: () => { classes.splice(i, 1); draw(); }}, "×")),
    pictures.length ? el("ul", {class: "strip wrap"}, ...pictures) : el("p", {class: "quiet"}, "Drop pictures here."),
    el("div", {class: "row"}, el("button", {onclick: () => input.click()}, "Add pictures"), el("span", {class: "quiet"}, c.files.length ? plural(c.files.length, "picture") : ""), input));
}

/** examples puts built-in photographs of a few classes in. */
async function examples() {
  fill.disabled = true;
  try {
    const {classes: offered} = await json("v1/samples");
    say(line, "Fetching photographs …", "busy");
    const photograph = async (title, number, i) => {
      const data = await blob(`v1/samples/${number}`);
      return new File([data], `${title} ${i + 1}`, {type: data.type});
    };
    const lessons = await Promise.all(offered.map(async (c) => [c.class, await Promise.all(c.samples.map((k, i) => photograph(c.class, k, i)))]));
    classes = classes.filter((c) => c.name || c.files.length);
    for (const [title, files] of lessons) if (!classes.some((c) => c.name === title && c.files.length)) add(title, files);
    draw();
  } catch (e) {
    tell(line, e);
  } finally {
    fill.disabled = false;
  }
}

/** ready tells what is still missing. */
function ready() {
  const full = classes.filter((c) => c.files.length > 0);
  const names = full.map((c) => c.name.trim());
  let missing = "";
  if (full.length < 2) missing = "Two classes with pictures are needed.";
  else if (names.includes("")) missing = "A class has no name yet.";
  else if (new Set(names).size < names.length) missing = "Two classes have one name.";
  else if (full.some((c) => c.files.length < 3)) missing = "Each class needs three pictures at least.";
  go.disabled = missing !== "" || working !== null;
  if (!working) say(line, missing);
}

async function teach() {
  working = new AbortController();
  const {signal} = working;
  go.disabled = true;
  stop.hidden = false;
  bar.hidden = false;
  bar.removeAttribute("value");
  result.hidden = true;
  try {
    const form = new FormData();
    const all = classes.flatMap((c) => c.files.map((f) => [c.name.trim(), f]));
    sent = all.map(([, f]) => f);
    for (const [i, [title, {file}]] of all.entries()) {
      say(line, `Reading ${i + 1} of ${plural(all.length, "picture")} …`, "busy");
      bar.value = .1 * i / all.length;
      form.append(title, await shrunk(file), file.name);
      if (signal.aborted) throw signal.reason;
    }
    say(line, "Sending them …", "busy");
    const response = await request("v1/teach" + query({model: state.model, name: name.value.trim()}), {method: "POST", body: form, headers: {Accept: "application/x-ndjson"}, signal});
    for await (const part of lines(response)) {
      if (part.error) throw new Error(part.error);
      if (part.stage) say(line, `${part.stage[0].toUpperCase()}${part.stage.slice(1)} …`, "busy");
      if (part.of) {
        bar.value = .1 + .85 * part.done / part.of;
        say(line, `Looking at ${part.done} of ${plural(part.of, "picture")} …`, "busy");
      }
      if (part.model) taught = part;
    }
    working = null;
    say(line, "");
    show();
    state.wanted = taught.model;
    emit("models");
  } catch (e) {
    if (e.name === "AbortError") say(line, "Stopped.");
    else tell(line, e);
  } finally {
    working = null;
    stop.hidden = true;
    bar.hidden = true;
    go.disabled = false;
  }
}

/** show tells how well it went, and what to do with it. */
function show() {
  const r = taught.report, right = r.tested - r.wrong;
  const mistakes = r.mistakes.slice(0, 12).map((m) => {
    const image = el("img", {alt: sent[m.image].file.name});
    image.src = sent[m.image].url;
    return el("li", {}, el("figure", {}, image, el("figcaption", {}, el("strong", {}, m.answer), ` ${percent(m.probability, 0)}`, el("br"), `is ${m.class}${m.mislabelled ? ", perhaps mislabelled" : ""}`)));
  });
  result.replaceChildren(...[
    el("h2", {id: "taught-title"}, `${taught.model} is ready`),
    el("p", {class: "lead"}, el("strong", {}, percent(right / r.tested, 0)), ` right: ${right} of ${plural(r.tested, "picture")} that it had not seen when it answered.`),
    el("p", {class: "quiet"}, `With 95 % certainty it is right on ${percent(1 - r.high, 0)} to ${percent(1 - r.low, 0)} of pictures like these. It is ${percent(r.confidence, 0)} sure on average.${r.unreadable.length ? ` ${plural(r.unreadable.length, "picture")} could not be read.` : ""}${r.duplicates.length ? ` ${plural(r.duplicates.length, "group")} of near-duplicates.` : ""}`),
    el("div", {class: "row"},
      el("button", {class: "primary", onclick: () => { location.hash = "#picture"; }}, "Try it on a picture"),
      el("button", {onclick: keep}, "Keep it as a file")),
    mistakes.length ? el("h3", {}, "What it took for something else, the surest first") : null,
    mistakes.length ? el("ul", {class: "tiles"}, ...mistakes) : null,
  ].filter(Boolean));
  result.hidden = false;
  result.scrollIntoView({block: "nearest"});
}

async function keep() {
  try {
    say(line, "Fetching the file …", "busy");
    const file = await blob("v1/teach/" + encodeURIComponent(taught.model));
    const link = el("a", {download: taught.model + ".safetensors"});
    link.href = URL.createObjectURL(file);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say(line, `Kept as ${taught.model}.safetensors: vgg classify ${taught.model}.safetensors photo.jpg takes it.`);
  } catch (e) {
    tell(line, e);
  }
}

draw();
json("v1/samples").then((s) => { fill.hidden = s.classes.length === 0; }).catch(() => {}); // without them there is no button
export const view = {root};
