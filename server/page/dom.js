// Short ways to the document.

export const $ = (id) => document.getElementById(id);

/**
 * el makes an element. Properties whose names begin with "on" are listeners, those that the
 * element has are set, others become attributes.
 */
export function el(tag, properties = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (name === "class") e.className = value;
    else if (name.includes("-") || !(name in e)) e.setAttribute(name, value === true ? "" : value);
    else e[name] = value;
  }
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

/** percent writes a share; one that is nearly nothing or all is not rounded to it. */
export function percent(p, digits = 1) {
  const least = 10 ** -digits;
  if (p > 0 && 100 * p < least / 2) return `< ${least} %`;
  if (p < 1 && 100 - 100 * p < least / 2) return `> ${(100 - least).toFixed(digits)} %`;
  return (100 * p).toFixed(digits) + " %";
}

/** number writes a value with some digits, without an exponent where that is short. */
export function number(v, digits = 4) {
  if (v === 0) return "0";
  const size = Math.abs(v);
  return size >= 1e6 || size < 1e-3 ? v.toExponential(digits - 2) : String(Number(v.toPrecision(digits)));
}

/** span writes a time of seconds as a person says it; a line never ends before a unit. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const s = Math.round(seconds), text = s < 60 ? `${s} s` : s < 600 ? `${Math.floor(s / 60)} min ${s % 60} s` : s < 3600 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return text.replaceAll(/(\d) /g, "$1\u00a0");
}

export const plural = (n, one, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

/** debounce calls f once when calls have ceased for that many milliseconds. */
export function debounce(f, milliseconds) {
  let timer = 0;
  return (...list) => {
    clearTimeout(timer);
    timer = setTimeout(() => f(...list), milliseconds);
  };
}

/** table fills a table element: a caption, a head, and rows of text or elements. */
export function fill(table, caption, head, rows) {
  table.replaceChildren(
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, ...head.map((h) => el("th", {scope: "col"}, h)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((c, i) => el(i === 0 ? "th" : "td", i === 0 ? {scope: "row"} : {}, c))))),
  );
}

/**
 * say writes the state of a panel: what is being done, or what went wrong, for eyes and for
 * screen readers.
 */
export function say(line, text, kind = "") {
  line.textContent = text;
  line.className = "status" + (kind ? " " + kind : "");
}

/** tell writes an error, but for one of a request that was given up. */
export function tell(line, error) {
  if (error.name === "AbortError") return;
  say(line, error.message, "bad");
}
