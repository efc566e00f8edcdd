// What all views share: the picture, the model, and who wants to know of a change.

const bus = new EventTarget();

export const state = {
  picture: null, // {file, bitmap, name}: bitmap is null if the browser doesn't know the format
  model: "",     // its name
  about: null,   // its metadata: classes, side, preprocess
};

/** on calls f after each change of "picture", "model" or "draw". */
export const on = (what, f) => bus.addEventListener(what, f);
export const emit = (what) => bus.dispatchEvent(new Event(what));

/**
 * Latest gives each new question a signal and aborts the one before, so that a late answer
 * never overwrites a newer one.
 */
export class Latest {
  #controller = null;
  next() {
    this.stop();
    this.#controller = new AbortController();
    return this.#controller.signal;
  }
  stop() {
    this.#controller?.abort();
    this.#controller = null;
  }
}
