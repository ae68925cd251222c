// The large part: one of three states, the moment after a record was kept, and what to do now.

import { clock, find, make, put, say, words } from "./dom.js";
import * as preview from "./preview.js";
import { chime } from "./sound.js";

const SAID = { I1001: "lay_card", I1002: "step_look" };

let last = "";
let clearing = 0;

export function render(view) {
  const { stage } = view;
  const section = find("stage");
  if (section.dataset.state !== stage.state) section.dataset.state = stage.state;
  find("mark").setAttribute("href", `#i-${stage.state === "declined" ? "kept" : stage.state}`);
  put(find("headline"), say(`state_${stage.state}`));
  const said = sentence(stage);
  put(find("said"), said);
  put(find("person"), person(view));
  const steps = stage.state === "kept" || stage.state === "declined" ? [] : stage.do;
  find("do").replaceChildren(...steps.map((text) => make("li", { textContent: text })));
  put(find("announce"), [say(`state_${stage.state}`), said, ...steps].filter(Boolean).join("。"));
  progress(stage.steps);
  put(find("code"), stage.code ? `${say("code")} ${stage.code}` : "");
  find("code").hidden = stage.state !== "attention" && (stage.severity ?? "info") === "info";
  preview.show(Boolean(stage.preview));
  find("answers").hidden = stage.state !== "busy";
  find("asked").hidden = !stage.asking;
  put(find("hint"), stage.hint ? stage.hint.title : words.keep_still);
  find("notice").hidden = stage.state === "busy" && Boolean(stage.preview);
  kept(view);
}

function sentence(stage) {
  if (stage.state === "off") return words.off_said;
  if (stage.state === "kept") return words.next_card;
  if (stage.state === "declined") return words.next_card_declined;
  // What the headline says already is not said again.
  return SAID[stage.code] ? words[SAID[stage.code]] : stage.title;
}

function person({ stage, last: kept }) {
  if (stage.state !== "kept" || !kept || !kept.name) return "";
  return `${say("kept_last")} ${kept.name} ${kept.number} ${clock(kept.at)}`;
}

function progress(steps) {
  find("steps").hidden = !steps.length;
  const wanted = JSON.stringify(steps);
  if (find("steps").dataset.shown === wanted) return;
  find("steps").dataset.shown = wanted;
  find("steps").replaceChildren(...steps.map(({ step, state }) =>
    make("li", { data: { state } },
      say(`step_${step}`),
      make("span", { className: "visually-hidden", textContent: ` ${say(`step_${state}`)}` }))));
}

// The server takes the person off the view in time; should it fall silent, the page does so by itself.
function kept(view) {
  const record = view.last ? view.last.record : "";
  if (record && record !== last) {
    if (last !== null) chime();
    clearTimeout(clearing);
    clearing = setTimeout(forget, view.last.clear_after_s * 1000 + 500);
  }
  last = record || last;
}

export function forget() {
  put(find("person"), "");
}

export function lost({ title, code, do: steps }) {
  preview.show(false);
  render({ stage: { state: "attention", severity: "error", title, code, do: steps, steps: [] }, last: null });
}

export function closed({ title, code }) {
  render({ stage: { state: "closed", severity: "info", title, code, do: [], steps: [] }, last: null });
}
