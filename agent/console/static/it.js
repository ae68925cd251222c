// The tab for IT: how each part is, what is wrong, whose job it is. It is asked for only while it is open.

import { get } from "./api.js";
import { find, make, moment, say, words } from "./dom.js";

const EVERY_MS = 2000;
let open = false;
let timer = 0;

export function show(on) {
  open = on;
  clearTimeout(timer);
  if (on) refresh();
}

async function refresh() {
  try {
    render(await get("/api/page/it"));
  } catch {
    // The connection's own watch tells.
  }
  if (open) timer = setTimeout(refresh, EVERY_MS);
}

const panel = (title, wide, ...content) =>
  make("section", { className: wide ? "panel wide" : "panel" }, make("h2", { textContent: title }), ...content);

const table = (heads, rows) =>
  make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map((key) => make("th", { scope: "col", textContent: say(key) })))),
    make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells.map((cell) =>
      cell instanceof Node ? make("td", {}, cell) : make("td", { textContent: String(cell ?? "–"), className: typeof cell === "number" ? "number" : "" }))))));

const pairs = (rows) =>
  make("table", {}, make("tbody", {}, ...rows.map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row", textContent: name }), make("td", { textContent: String(value ?? "–") })))));

const size = (bytes) => (bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`);
const named = (head, name) => words[`${head}_${name}`] ?? name;
const state = (name) => make("span", { className: ["ok", "off", "idle"].includes(name) ? "" : "bad", textContent: `${name === "ok" || name === "idle" ? "●" : "▲"} ${named("part", name)}` });

function render(it) {
  const scrolled = document.scrollingElement.scrollTop;
  find("it").replaceChildren(
    make("h1", { className: "visually-hidden", textContent: say("tab_it") }),
    problems(it.problems),
    panel(say("it_parts"), true, table(["it_part", "it_state", "it_since", "it_facts"],
      Object.entries(it.topics).map(([name, topic]) => [named("part", name), state(topic.state), moment(topic.since), facts(topic)]))),
    panel(say("it_queue"), false, pairs(queue(it.queue))),
    panel(say("it_answers"), false, happened(it.answers)),
    panel(say("it_machine"), false, pairs([
      [say("it_version"), it.version], [say("it_clock"), `${moment(it.now)} ${say(it.clock_trusted ? "it_clock_good" : "it_clock_bad")}`],
      [say("it_dept"), it.device.dept], [say("it_device"), it.device.device_no], [say("it_platform"), it.platform_url],
    ])),
    panel(say("it_loops"), false, table(["it_part", "it_state", "it_restarts"],
      it.loops.map((loop) => [loop.name, state(loop.up ? "ok" : "down"), loop.restarts]))),
    panel(say("it_events"), true, happened(it.events), make("p", { className: "small", textContent: say("it_privacy") })),
  );
  document.scrollingElement.scrollTop = scrolled;
}

function problems(found) {
  const list = found.map((one) => make("div", { className: "problem", data: { severity: one.severity } },
    make("p", {}, make("strong", { textContent: `${one.code} ${one.title}` }), ` — ${say(`who_${one.who}`)}`),
    make("ol", {}, ...one.do.map((step) => make("li", { textContent: step })))));
  return panel(say("it_problems"), true, ...(list.length ? list : [make("p", { textContent: `● ${say("it_no_problems")}` })]));
}

function facts(topic) {
  const shown = { ...topic };
  for (const key of ["state", "since"]) delete shown[key];
  if (shown.next_try && new Date(shown.next_try) <= new Date()) delete shown.next_try;
  for (const key of ["next_try", "failed_at"]) if (shown[key]) shown[key] = moment(shown[key]);
  for (const key of ["used", "limit", "free"]) if (key in shown) shown[key] = size(shown[key]);
  return Object.entries(shown).filter(([, value]) => !Array.isArray(value) || value.length).map(([key, value]) => `${named("fact", key)} ${value}`).join(" · ");
}

function queue(counts) {
  const rows = ["ready", "sending", "held", "parked", "delivered", "quarantined", "given_up", "superseded", "moved", "accepted", "difference"].map((key) => [say(`queue_${key}`), counts[key]]);
  return [[say("queue_waiting_all"), counts.waiting], ...rows,
    [say("queue_oldest_waiting"), moment(counts.oldest_waiting)], [say("queue_last_success"), moment(counts.last_success)],
    [say("it_room"), `${size(counts.bytes)} / ${size(counts.limit)}`], [say("it_disk"), size(counts.free)]];
}

function happened(events) {
  if (!events.length) return make("p", { textContent: say("it_none") });
  return table(["it_when", "code", "it_what"], events.map((event) => [moment(event.at), event.code, event.title]));
}
