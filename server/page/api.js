// Requests to the service, with its key where it wants one.

import {$} from "./dom.js";

const keyName = "vgg-key";

/** Refusal is an answer that isn't what was asked for, in the service's words. */
export class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.name = "Refusal";
    this.code = code;
  }
}

const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

/**
 * request sends a request and returns the response. It asks for a key where the service wants
 * one, and asks again later where the service has too much to do.
 */
export async function request(path, {method = "GET", body, headers = {}, signal} = {}) {
  for (let tries = 0; ; tries++) {
    const key = sessionStorage.getItem(keyName);
    const response = await fetch(path, {method, body, signal, headers: key ? {...headers, Authorization: `Bearer ${key}`} : headers}).catch((e) => {
      throw e.name === "AbortError" ? e : new Refusal(0, "The service doesn't answer. Is it still running?");
    });
    if (response.ok) return response;
    const text = await response.text();
    let message = text;
    try {
      message = JSON.parse(text).error ?? text;
    } catch { /* not the service's own answer */ }
    if (isKey(response.status, message)) {
      await askKey(key ? "The service doesn't know this key." : "This service asks for a key.");
      continue;
    }
    if ((response.status === 429 || response.status === 503) && tries < 5) {
      await wait(Number(response.headers.get("Retry-After") ?? 1));
      continue;
    }
    throw new Refusal(response.status, sentence(message || `The service answers with code ${response.status}.`));
  }
}

/** isKey tells whether a refusal is for want of a key. */
const isKey = (code, message) => code === 401 || (code === 403 && /key is unknown/.test(message));

/** sentence makes one of an error's text. */
function sentence(text) {
  const s = text[0].toUpperCase() + text.slice(1);
  return /[.!?:]$/.test(s) ? s : s + ".";
}

/** json asks for an answer of JSON. */
export async function json(path, options) {
  return (await request(path, options)).json();
}

/** blob asks for a file. */
export async function blob(path, options) {
  return (await request(path, options)).blob();
}

/** look sends a picture and returns the answer of JSON. */
export const look = (path, file, signal) =>
  json(path, {method: "POST", body: file, headers: {"Content-Type": "application/octet-stream"}, signal});

/** lines reads an answer of JSON lines while it comes. */
export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (value) rest += value;
    const parts = rest.split("\n");
    rest = parts.pop();
    for (const part of parts) if (part.trim()) yield JSON.parse(part);
    if (done) {
      if (rest.trim()) yield JSON.parse(rest);
      return;
    }
  }
}

/** query writes the parameters of an address; those without a value are left out. */
export function query(parameters) {
  const p = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined && value !== null && value !== "") p.set(name, value);
  const text = p.toString();
  return text ? "?" + text : "";
}

let asking = null;

/** askKey shows the dialog for a key; all requests that wait go on with the same one. */
export function askKey(why) {
  asking ??= new Promise((done) => {
    const dialog = $("key-dialog"), field = $("key-field");
    $("key-why").textContent = why;
    field.value = "";
    $("key").hidden = false;
    $("key-form").onsubmit = (e) => {
      e.preventDefault();
      sessionStorage.setItem(keyName, field.value.trim());
      dialog.close();
    };
    dialog.onclose = () => {
      asking = null;
      if (sessionStorage.getItem(keyName)) done();
      else askKey("Nothing can be asked without a key.").then(done);
    };
    dialog.showModal();
    field.focus();
  });
  return asking;
}

/** forgetKey lets the next request ask for another key. */
export function forgetKey() {
  sessionStorage.removeItem(keyName);
  return askKey("Another key for this service.");
}

