// A training run while it goes on: curves, the time that is left, the learning rate, the worst
// mistakes.

import {el, fill, number, percent, say, span, tell} from "./dom.js";
import {json, query} from "./api.js";
import {Latest} from "./state.js";
import {Curves} from "./curves.js";

const latest = new Latest();
const line = el("p", {class: "status", role: "status"});
const byRun = el("select", {id: "run", onchange: follow});
const figures = el("dl", {class: "figures"});
const bar = el("progress", {max: 1, value: 0, "aria-label": "Share of the run that is done", hidden: true});
const losses = new Curves("Loss", {x: "iteration", series: [
  {label: "each mini-batch", colour: "--edge", width: .6}, {label: "mean of the last", colour: "--accent", width: 2}, {label: "validation", colour: "--second", width: 2, points: true}]});
const errors = new Curves("Error on the validation images", {x: "epoch", format: (v) => percent(v), ticks: (v) => percent(v, 0), series: [
  {label: "top-1", colour: "--accent", width: 2, points: true}, {label: "top-5", colour: "--second", width: 2, points: true, dash: [6, 4]}]});
const rates = new Curves("Learning rate", {x: "iteration", log: true, series: [{label: "learning rate", colour: "--accent", width: 2}]});
const charts = el("div", {class: "charts", hidden: true}, losses.root, errors.root, rates.root);
const table = el("table", {});
const mistakes = el("section", {hidden: true, "aria-labelledby": "mistakes-title"}, el("h2", {id: "mistakes-title"}, "Worst mistakes"), el("div", {class: "scroll", tabIndex: 0, role: "region", "aria-labelledby": "mistakes-title"}, table));
const root = el("div", {class: "view training"},
  el("section", {"aria-labelledby": "training-title"},
    el("h2", {id: "training-title"}, "Training"),
    el("div", {class: "row"}, el("label", {}, "Run ", byRun)), line, figures, bar),
  charts, mistakes);

let iterations = [], epochs = [];

/** enter lists the runs and follows the one that was written to last. */
async function enter() {
  const signal = latest.next();
  try {
    const {runs} = await json("v1/runs", {signal});
    const before = byRun.value;
    byRun.replaceChildren(...runs.map((r) => el("option", {value: r.name}, r.name + (r.state === "running" ? ", running" : ""))));
    if (runs.length === 0) {
      say(line, "No run yet. What vgg train writes comes here while it is written.");
      return;
    }
    byRun.value = runs.some((r) => r.name === before) ? before : runs[0].name;
    follow();
  } catch (e) {
    if (e.code === 501) say(line, "No training runs are shown: vgg serve … --runs runs shows those of a folder.");
    else tell(line, e);
  }
}

/** follow asks for what is new of a run again and again. The service answers when there is some. */
async function follow() {
  const signal = latest.next(), name = encodeURIComponent(byRun.value);
  let since = 0, generation = "";
  iterations = [];
  epochs = [];
  say(line, "Reading the run …", "busy");
  try {
    for (;;) {
      const a = await json(`v1/runs/${name}` + query({since, generation, wait: since > 0 ? 20 : ""}), {signal});
      if (a.generation !== generation) { // the run went back to a checkpoint
        iterations = [];
        epochs = [];
      }
      ({generation, next: since} = a);
      for (const l of a.lines) {
        if (l?.kind === "iteration") iterations.push(l);
        else if (l?.kind === "epoch") epochs.push(l);
      }
      const whole = a.next >= a.total;
      if (whole || iterations.length < 5000) show(a);
      say(line, whole ? "" : `Reading the run: ${a.next} of ${a.total} lines …`, whole ? "" : "busy");
      if (whole && a.state === "ended") await pause(5, signal);
    }
  } catch (e) {
    tell(line, e);
  }
}

/** pause waits, but not for a view that somebody has left. */
const pause = (seconds, signal) => new Promise((done, fail) => {
  const timer = setTimeout(done, 1000 * seconds);
  signal.addEventListener("abort", () => { clearTimeout(timer); fail(signal.reason); });
});

function show(a) {
  const p = a.progress, best = p.best;
  const list = [
    ["State", a.state === "running" ? "running" : p.iterations && p.iteration >= p.iterations ? "done" : "ended"],
    ["Epoch", p.epochs ? `${p.epoch} of ${p.epochs}` : String(p.epoch)],
    ["Left", a.state === "running" ? p.eta_seconds === null ? "not known yet" : "about " + span(p.eta_seconds) : "–"],
    ["Learning rate", p.learning_rate === null ? "–" : number(p.learning_rate, 3)],
    ["Images a second", p.images_per_second === null ? "–" : number(p.images_per_second, 3)],
    ["Best error", best?.top1_error === undefined || best.top1_error === null ? best?.localisation_error === undefined ? "–" : percent(best.localisation_error) : `${percent(best.top1_error)}, epoch ${best.epoch}`],
  ];
  figures.replaceChildren(...list.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  bar.hidden = !p.iterations;
  if (p.iterations) bar.value = p.iteration / p.iterations;
  charts.hidden = iterations.length === 0;
  if (iterations.length === 0) return;
  curves();
  worst();
}

/** mean returns at each place the mean of the last n values. */
function mean(values, n) {
  let sum = 0;
  return values.map((v, i) => {
    sum += v - (i >= n ? values[i - n] : 0);
    return sum / Math.min(i + 1, n);
  });
}

function curves() {
  const x = iterations.map((l) => l.iteration), loss = iterations.map((l) => l.loss);
  const last = new Map(); // of each epoch, the place of its last iteration
  iterations.forEach((l, i) => last.set(l.epoch, i));
  const validation = x.map(() => null);
  for (const e of epochs) if (last.has(e.epoch) && e.loss !== null) validation[last.get(e.epoch)] = e.loss;
  const rate = iterations.map((l) => l.learning_rate > 0 ? l.learning_rate : null);
  losses.show([x, loss, mean(loss, Math.max(1, Math.round(x.length / 60))), validation]);
  rates.show([x, rate]);
  errors.root.hidden = !epochs.some((e) => e.top1_error !== null && e.top1_error !== undefined);
  if (!errors.root.hidden) errors.show([epochs.map((e) => e.epoch), epochs.map((e) => e.top1_error), epochs.map((e) => e.top5_error ?? null)]);
}

function worst() {
  const e = epochs.findLast((l) => l.mistakes?.length);
  mistakes.hidden = !e;
  if (!e) return;
  fill(table, `Of the validation after epoch ${e.epoch}, the worst first`, ["Picture", "Is", "Taken for", "Probability"], e.mistakes.map((m) => [m.file, m.class, m.predicted, percent(m.probability)]));
}

export const view = {root, enter, leave: () => latest.stop()};
