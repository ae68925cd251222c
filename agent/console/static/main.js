// The page's frame: the connection to the agent, tabs, keys, language and light.

import { Refused, get, lang } from "./api.js";
import * as dialogs from "./dialogs.js";
import { find, put, say } from "./dom.js";
import * as it from "./it.js";
import * as lists from "./lists.js";
import * as sound from "./sound.js";
import * as stage from "./stage.js";

const POLL_MS = 1000;
const POLLS = 5;
const LOST_AFTER_MS = 6000;
const lostSentence = JSON.parse(document.body.dataset.lost);
let heardAt = performance.now();
let polling = false;

function show(view) {
  heardAt = performance.now();
  stage.render(view);
  lists.render(view);
  dialogs.render(view);
  const { queue } = view;
  const platform = queue.platform === "ok" ? say("platform_ok") : say("platform_waiting");
  put(find("platform"), `${queue.platform === "ok" ? "●" : "▲"} ${platform} · ${queue.waiting ? say("queue_waiting", { count: queue.waiting }) : say("queue_none")}`);
  find("platform").className = queue.platform === "ok" ? "" : "wrong";
  put(find("connection"), polling ? say("polling") : "");
  document.body.dataset.live = "yes";
}

function listen() {
  const source = new EventSource(`/api/events?lang=${lang}`);
  source.addEventListener("view", (event) => {
    polling = false;
    show(JSON.parse(event.data));
  });
  source.addEventListener("alive", () => { heardAt = performance.now(); });
  source.addEventListener("error", () => {
    // The browser goes on by itself while the line is merely down; an answer that is no stream ends it.
    if (source.readyState === EventSource.CLOSED) poll(POLLS);
  });
}

// No place for a stream, no session, or nobody there: ask plainly, and for a stream again now and then.
async function poll(left) {
  let wait = POLL_MS;
  try {
    const view = await get("/api/page");
    polling = true;
    show(view);
    if (left <= 0) return listen();
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      heardAt = performance.now();
      leave();
      stage.closed(error);
      wait = 3 * POLL_MS;
    }
  }
  setTimeout(poll, wait, left - 1);
}

// Once nobody confirms what is on the screen it is not true any more, and nothing of a person stays there.
setInterval(() => {
  if (performance.now() - heardAt < LOST_AFTER_MS) return;
  leave();
  stage.lost(lostSentence);
}, 1000);

function leave() {
  document.body.dataset.live = "no";
  lists.leave();
}

// --- tabs ---

const tabs = [find("tab-desk"), find("tab-it")];

function select(chosen) {
  for (const tab of tabs) {
    const on = tab === chosen;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    find(tab.getAttribute("aria-controls")).hidden = !on;
  }
  it.show(chosen === find("tab-it"));
}

for (const [at, tab] of tabs.entries()) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const next = tabs[(at + 1) % tabs.length];
    select(next);
    next.focus();
  });
}

// --- keys ---

const KEYS = {
  F2: dialogs.signIn,
  F4: dialogs.decline,
  F8: dialogs.wrongCard,
  F9: () => (find("todo").querySelector("button") ?? find("held").querySelector("button"))?.focus(),
};

document.addEventListener("keydown", (event) => {
  if (!(event.key in KEYS) || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  if (!document.querySelector("dialog[open]")) KEYS[event.key]();
});

// --- light and sound ---

const THEMES = ["auto", "light", "dark"];

function light(theme) {
  document.documentElement.dataset.theme = theme;
  put(find("theme"), say(`theme_${theme}`));
}

light(localStorage.getItem("theme") ?? "auto");
find("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  localStorage.setItem("theme", next);
  light(next);
});

function sounding(on) {
  find("sound").setAttribute("aria-pressed", String(on));
  put(find("sound"), say(on ? "sound_on" : "sound_off"));
}

sounding(sound.on());
find("sound").addEventListener("click", () => sounding(sound.toggle()));

listen();
