import {el} from "./dom.js";
export const root = el("section", {hidden: true});
export function reset() { root.hidden = true; }
export async function start() {}
