// Tiles of pictures that come one after the other, those that are seen first.

import {el} from "./dom.js";
import {blob} from "./api.js";

const atOnce = 4;

/** Tiles is a list of pictures of the index. */
export class Tiles {
  #waiting = [];
  #running = 0;
  #urls = [];
  #signal = null;

  constructor(label) {
    this.root = el("ul", {class: "tiles", "aria-label": label});
  }

  /** clear forgets the pictures; those to come belong to the signal. */
  clear(signal) {
    this.#waiting = [];
    this.#signal = signal;
    for (const url of this.#urls.splice(0)) URL.revokeObjectURL(url);
    this.root.replaceChildren();
  }

  /** add makes a tile of a picture at a path, or of none, with a text; take is called with the file. */
  add(path, name, text, take) {
    const image = el("img", {alt: ""});
    const picture = path
      ? el("button", {class: "tile", "aria-label": `Look at ${name}`, title: `Look at ${name}`, disabled: true}, image)
      : el("div", {class: "tile none"}, "no picture");
    this.root.append(el("li", {}, el("figure", {}, picture, el("figcaption", {}, text, el("span", {class: "name", title: name}, name)))));
    if (path) this.#waiting.push({path, image, picture, name, take, signal: this.#signal});
    this.#more();
  }

  #more() {
    while (this.#running < atOnce && this.#waiting.length > 0) {
      this.#running++;
      this.#one(this.#waiting.shift()).finally(() => { this.#running--; this.#more(); });
    }
  }

  async #one({path, image, picture, name, take, signal}) {
    try {
      const file = await blob(path, {signal});
      if (signal?.aborted) return;
      const url = URL.createObjectURL(file);
      this.#urls.push(url);
      image.src = url;
      picture.disabled = false;
      picture.onclick = () => take(file, name);
    } catch (e) {
      if (e.name !== "AbortError") picture.replaceChildren(el("span", {class: "quiet"}, e.message));
    }
  }
}
