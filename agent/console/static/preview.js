// The camera's picture, only while a card is being processed; each frame is forgotten when the next one comes.

import { find } from "./dom.js";

const EVERY_MS = 200;
let wanted = false;
let running = false;
let shown = "";

export function show(on) {
  wanted = on;
  find("preview").hidden = !on;
  find("stage").dataset.preview = on ? "yes" : "no";
  if (on && !running) run();
  if (!on) replace("");
}

async function run() {
  running = true;
  try {
    while (wanted) {
      const began = performance.now();
      const response = await fetch("/api/page/preview", { cache: "no-store" });
      if (response.status === 200 && wanted) replace(URL.createObjectURL(await response.blob()));
      else if (!response.ok) break;
      await new Promise((done) => setTimeout(done, Math.max(50, EVERY_MS - (performance.now() - began))));
    }
  } catch {
    // The connection's own watch tells.
  } finally {
    running = false;
    if (!wanted) replace("");
  }
}

function replace(address) {
  if (shown) URL.revokeObjectURL(shown);
  shown = address;
  if (address) find("picture").src = address;
  else find("picture").removeAttribute("src");
}
