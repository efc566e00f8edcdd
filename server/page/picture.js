// The picture: dropped, pasted, chosen or one of the samples. It is drawn with what the view
// lays over it.

import {$, el} from "./dom.js";
import {blob, json} from "./api.js";
import {emit, on, state} from "./state.js";

const longest = 1400; // pixels of the canvas

let overlay = null;

/**
 * setOverlay names what draws the picture and something over it: f(pen, width, height, picture),
 * where picture() draws the picture itself; null for the picture alone.
 */
export function setOverlay(f) {
  overlay = f;
  draw();
}

/** take makes a file the picture of all views. */
export async function take(file, name = file.name) {
  if (!file) return;
  let bitmap = null;
  try {
    bitmap = await upright(file);
  } catch { /* the service may know a format that the browser doesn't */ }
  state.picture?.bitmap?.close();
  state.picture = {file, bitmap, name: name || "picture"};
  $("invitation").hidden = bitmap !== null;
  $("invitation").querySelector(".lead").textContent = `The browser can't show ${state.picture.name}.`;
  $("invitation").querySelector("p:last-child").textContent = "The network may see it all the same.";
  $("caption").textContent = bitmap ? `${state.picture.name}, ${bitmap.width} × ${bitmap.height}` : state.picture.name;
  for (const b of $("samples").querySelectorAll("button")) b.setAttribute("aria-pressed", String(b.file === file));
  emit("picture");
  draw();
}

/** upright decodes a file as the model turns it. */
export function upright(file) {
  const turned = (state.about?.preprocess?.orient ?? "upright") === "upright";
  return createImageBitmap(file, {imageOrientation: turned ? "from-image" : "none"});
}

export function draw() {
  const canvas = $("canvas"), bitmap = state.picture?.bitmap;
  canvas.hidden = !bitmap;
  if (!bitmap) return;
  const by = Math.min(longest / Math.max(bitmap.width, bitmap.height), Math.max(1, 900 / Math.max(bitmap.width, bitmap.height)));
  const w = Math.round(bitmap.width * by), h = Math.round(bitmap.height * by);
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, {width: w, height: h});
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.globalAlpha = 1;
  pen.filter = "none";
  const picture = () => pen.drawImage(bitmap, 0, 0, w, h);
  canvas.setAttribute("aria-label", `The picture ${state.picture.name}`);
  if (overlay) overlay(pen, w, h, picture);
  else picture();
}

/** frame draws a rectangle that is seen on any ground. */
export function frame(pen, x, y, w, h, width = 3) {
  pen.setLineDash([]);
  pen.lineWidth = width + 2;
  pen.strokeStyle = "rgba(0, 0, 0, .75)";
  pen.strokeRect(x, y, w, h);
  pen.lineWidth = width;
  pen.strokeStyle = "#fff";
  pen.strokeRect(x, y, w, h);
}

/** samples lists the pictures to try. */
export async function samples() {
  const {names, credit} = await json("v1/samples");
  $("credit").textContent = names.length ? `Pictures to try: ${credit}` : "";
  const items = names.map((name, i) => {
    const button = el("button", {class: "thumb", "aria-label": name, title: name, "aria-pressed": "false", onclick: () => take(button.file, name)});
    return el("li", {}, button);
  });
  $("samples").replaceChildren(...items);
  await Promise.all(items.map(async (item, i) => {
    const button = item.firstChild;
    button.file = await blob(`v1/samples/${i}`);
    const image = el("img", {alt: ""});
    image.src = URL.createObjectURL(button.file);
    button.append(image);
  }));
}

/** imagesOf returns the pictures of what was dropped or pasted. */
export const imagesOf = (data) => [...(data?.files ?? [])].filter((f) => f.type.startsWith("image/") || /\.(tiff?|p[pgn]m)$/i.test(f.name));

/** receive lets the page take pictures in; views that want drops for themselves stop them. */
export function receive() {
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", (e) => {
    take(e.target.files[0]);
    e.target.value = ""; // the same file again is a change too
  });
  let depth = 0;
  const hover = (over) => $("drop").classList.toggle("over", over);
  document.addEventListener("dragenter", (e) => { e.preventDefault(); depth++; hover(true); });
  document.addEventListener("dragover", (e) => e.preventDefault());
  document.addEventListener("dragleave", () => { if (--depth <= 0) { depth = 0; hover(false); } });
  document.addEventListener("drop", (e) => {
    e.preventDefault();
    depth = 0;
    hover(false);
    if (document.body.dataset.view === "training" || document.body.dataset.view === "teach") return;
    const [first] = imagesOf(e.dataTransfer);
    if (first) take(first);
    else $("caption").textContent = e.dataTransfer.files.length ? `${e.dataTransfer.files[0].name} is no picture.` : "That was no file: drop one from this device.";
  });
  document.addEventListener("paste", (e) => {
    const [first] = imagesOf(e.clipboardData);
    if (first && document.body.dataset.view !== "teach") take(first, "pasted picture");
  });
  on("draw", draw);
}
