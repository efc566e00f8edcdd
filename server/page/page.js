// The page: a picture goes to the service, its classes and class score maps come back.
// Nothing is loaded from another host.

const $ = (id) => document.getElementById(id);
const percent = (p) => (100 * p).toFixed(1) + " %";

let picture = null; // the picture as it is drawn: an ImageBitmap, upright
let maps = null;    // the answer of /v1/explain
let round = 0;      // number of the latest picture, so that late answers of others are dropped

async function models() {
  const answer = await fetch("v2/repository/index", {method: "POST", body: "{}"});
  const list = (await answer.json()).filter((m) => m.state === "READY");
  $("model").replaceChildren(...list.map((m) => new Option(m.name, m.name)));
  $("model-choice").hidden = list.length < 2;
  if (list.length === 1) $("about").textContent = `What the network ${list[0].name} sees in a picture.`;
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

async function ask(path, file) {
  const answer = await fetch(path, {method: "POST", body: file, headers: {"Content-Type": "application/octet-stream"}});
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error);
  return body;
}

async function show(file) {
  const mine = ++round;
  const model = encodeURIComponent($("model").value);
  maps = null;
  $("map").hidden = true;
  say("Looking at the picture …");
  try {
    picture = await createImageBitmap(file);
  } catch {
    picture = null; // the service may know a format that the browser doesn't
  }
  draw();
  try {
    const classes = await ask(`v1/classify?model=${model}`, file);
    if (mine !== round) return;
    listClasses(classes);
    say("Looking at every place of it …");
    const answer = await ask(`v1/explain?model=${model}&maps=1&top=5`, file);
    if (mine !== round) return;
    maps = answer;
    $("map-class").replaceChildren(...answer.top.map((c, i) => new Option(`${c.class} (${percent(c.probability)})`, i)));
    $("map-scale").replaceChildren(...answer.scales.map((s, i) => new Option(`${s.scale} pixels, ${s.cols}×${s.rows} windows`, i)));
    $("map-scale").value = String(answer.scales.length - 1);
    $("map").hidden = false;
    say("");
    draw();
  } catch (e) {
    if (mine === round) say(e.message, true);
  }
}

function listClasses(answer) {
  const list = answer.top ?? answer.labels ?? answer.scores ?? [];
  const rows = list.map((c) => {
    const row = document.createElement("tr");
    const name = document.createElement("td");
    name.textContent = c.class;
    const value = document.createElement("td");
    if (c.probability !== undefined) {
      const meter = document.createElement("meter");
      meter.value = c.probability;
      meter.setAttribute("aria-label", c.class);
      value.append(meter, percent(c.probability));
    } else {
      value.append(c.score.toPrecision(4));
    }
    row.append(name, value);
    return row;
  });
  $("classes").querySelector("tbody").replaceChildren(...rows);
  $("classes").hidden = rows.length === 0;
  $("no-classes").hidden = rows.length > 0;
  if (rows.length === 0) $("no-classes").textContent = "None of the labels.";
}

// colour is a map that people who don't see red and green apart can read: from a dark blue by
// way of grey to yellow (cividis, by a fit of three points).
function colour(v) {
  const stops = [[0, 34, 78], [124, 123, 120], [254, 232, 56]];
  const at = Math.min(1, Math.max(0, v)) * 2, i = Math.min(1, Math.floor(at)), f = at - i;
  return stops[i].map((c, k) => Math.round(c + f * (stops[i + 1][k] - c)));
}

function draw() {
  const canvas = $("canvas");
  $("invitation").hidden = picture !== null;
  canvas.hidden = picture === null;
  if (picture === null) return;
  const shrink = Math.min(1, 1200 / Math.max(picture.width, picture.height));
  canvas.width = Math.round(picture.width * shrink);
  canvas.height = Math.round(picture.height * shrink);
  const pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (maps === null) return;
  const c = Number($("map-class").value), s = Number($("map-scale").value);
  const scale = maps.scales[s], values = maps.maps[c][s];
  const [sx, sy] = [canvas.width / scale.width, canvas.height / scale.height];
  // Each value belongs to the centre of its window; the cell around it is a stride wide.
  const small = new OffscreenCanvas(scale.cols, scale.rows), brush = small.getContext("2d");
  const pixels = brush.createImageData(scale.cols, scale.rows);
  values.forEach((v, i) => pixels.data.set([...colour(v), 255], 4 * i));
  brush.putImageData(pixels, 0, 0);
  pen.globalAlpha = $("opacity").value / 100;
  pen.imageSmoothingEnabled = scale.cols > 1 && scale.rows > 1;
  const first = scale.window / 2 - scale.stride / 2;
  pen.drawImage(small, first * sx, first * sy, scale.cols * scale.stride * sx, scale.rows * scale.stride * sy);
  pen.globalAlpha = 1;
  let best = 0;
  values.forEach((v, i) => { if (v > values[best]) best = i; });
  const x = (best % scale.cols) * scale.stride, y = Math.floor(best / scale.cols) * scale.stride;
  pen.lineWidth = 2;
  pen.strokeStyle = "#fff";
  pen.strokeRect(x * sx, y * sy, scale.window * sx, scale.window * sy);
  pen.setLineDash([6, 6]);
  pen.strokeStyle = "#000";
  pen.strokeRect(x * sx, y * sy, scale.window * sx, scale.window * sy);
  pen.setLineDash([]);
  const name = maps.top[c].class;
  $("map-text").textContent = `${name}: ${percent(maps.top[c].at_scale[s])} at this scale. The window where it is most probable, ${percent(values[best])}, is framed. Blue is 0 %, yellow 100 %.`;
  const table = $("map-table");
  table.querySelector("caption").textContent = `Probability of ${name} in per cent, by windows of ${scale.window} pixels that are ${scale.stride} apart`;
  table.querySelector("tbody").replaceChildren(...Array.from({length: scale.rows}, (_, r) => {
    const row = document.createElement("tr");
    row.append(...Array.from({length: scale.cols}, (_, k) => {
      const cell = document.createElement("td");
      cell.textContent = (100 * values[r * scale.cols + k]).toFixed(1);
      return cell;
    }));
    return row;
  }));
}

let latest = null;
function take(file) {
  if (!file) return;
  latest = file;
  show(file);
}

$("file").addEventListener("change", (e) => take(e.target.files[0]));
for (const id of ["map-class", "map-scale", "opacity"]) $(id).addEventListener("input", draw);
$("model").addEventListener("change", () => latest && show(latest));
const drop = $("drop");
for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (e) => { e.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (e) => { e.preventDefault(); drop.classList.remove("over"); take(e.dataTransfer.files[0]); });
document.addEventListener("paste", (e) => take([...e.clipboardData.files].find((f) => f.type.startsWith("image/"))));
models().catch(() => say("The service doesn't answer.", true));
