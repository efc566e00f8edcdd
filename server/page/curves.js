// Curves, by uPlot (MIT, beside this file).

import {el, fill, number} from "./dom.js";

let loading = null;

/** load brings uPlot when the first curve is drawn. */
function load() {
  loading ??= new Promise((done, fail) => {
    document.head.append(el("link", {rel: "stylesheet", href: "uplot/uPlot.min.css"}));
    document.head.append(el("script", {src: "uplot/uPlot.iife.min.js", onload: () => done(window.uPlot), onerror: () => fail(new Error("The curves can't be drawn: the service doesn't send uPlot."))}));
  });
  return loading;
}

const scheme = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();

// wholes are the distances of the marks of iterations and epochs, of which there are no halves.
const wholes = Array.from({length: 10}, (_, i) => [1, 2, 5].map((n) => n * 10 ** i)).flat();

/** top is where an axis ends: the first few values of a run, which may be huge, don't set it. */
function top(series, high) {
  const all = series.flat().filter((v) => v !== null && v !== undefined).sort((a, b) => a - b);
  const most = all.length > 200 ? Math.min(high, 1.6 * all[Math.floor(.97 * all.length)]) : high;
  return most > 0 ? most * 1.05 : 1;
}

/**
 * Curves is a figure of curves over one axis, with the same as a table. series are
 * {label, colour: a property of the page, width, dash, format}.
 */
export class Curves {
  #plot = null;
  #data = null;
  #options;
  #at = el("div", {class: "plot"});
  #table = el("table", {});
  #details = el("details", {}, el("summary", {}, "As a table"), el("div", {class: "scroll", tabIndex: 0, role: "region", "aria-label": "The curves as a table"}, this.#table));

  constructor(title, options) {
    this.#options = options;
    this.title = title;
    this.root = el("figure", {class: "curves"}, el("figcaption", {}, title), this.#at, this.#details);
    this.#at.setAttribute("role", "img");
    this.#details.addEventListener("toggle", () => this.#tabulate());
    scheme.addEventListener("change", () => this.#make());
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(this.#at);
  }

  #size() { return {width: Math.max(200, this.#at.clientWidth), height: 220}; }

  async #make() {
    if (!this.#data) return;
    const Plot = await load(), o = this.#options;
    this.#plot?.destroy();
    const axis = {stroke: colour("--quiet"), grid: {stroke: colour("--line"), width: 1}, ticks: {show: false}, font: `12px system-ui, sans-serif`};
    this.#plot = new Plot({
      ...this.#size(),
      cursor: {y: false, points: {size: 6}},
      legend: {live: true},
      scales: {x: {time: false}, y: o.log ? {distr: 3} : {range: (u, low, high) => [Math.min(0, low), top(u.data.slice(1), high)]}},
      axes: [{...axis, size: 32, incrs: wholes}, {...axis, size: 56, values: (u, list) => list.map((v) => v === null ? "" : (o.ticks ?? o.format ?? ((y) => number(y, 3)))(v))}],
      series: [{label: o.x}, ...o.series.map((s) => ({
        label: s.label, stroke: colour(s.colour), width: s.width ?? 1.5, dash: s.dash, spanGaps: true, points: {show: s.points ?? false, size: 4, fill: colour(s.colour)},
        value: (u, v) => v === null || v === undefined ? "–" : o.format ? o.format(v) : number(v, 4),
      }))],
    }, this.#data, this.#at);
  }

  /** show draws data: the values of the axis, and those of each series, null where there is none. */
  async show(data) {
    this.#data = data;
    const last = this.#options.series.map((s, i) => {
      const v = data[i + 1].findLast((y) => y !== null);
      return v === undefined ? "" : `${s.label} ${this.#options.format ? this.#options.format(v) : number(v)}`;
    }).filter(Boolean).join(", ");
    this.#at.setAttribute("aria-label", `${this.title}: now ${last || "nothing yet"}`);
    this.#tabulate();
    if (this.#plot) this.#plot.setData(data);
    else await this.#make();
  }

  #tabulate() {
    if (!this.#data || !this.#details.open) return;
    const o = this.#options, [x, ...rest] = this.#data, rows = [];
    const step = Math.max(1, Math.ceil(x.length / 200)); // a longer table helps nobody
    for (let i = x.length - 1; i >= 0; i -= step) {
      rows.push([String(x[i]), ...rest.map((y) => y[i] === null || y[i] === undefined ? "–" : o.format ? o.format(y[i]) : number(y[i]))]);
    }
    fill(this.#table, `${this.title}, the latest first`, [o.x, ...o.series.map((s) => s.label)], rows);
  }
}
