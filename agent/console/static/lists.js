// The registrar's lists: what is to be done, what is to be completed. Names and numbers come masked; one is shown on request.

import { post } from "./api.js";
import { ask, failed } from "./dialogs.js";
import { clock, fill, find, make, put, say } from "./dom.js";

let hiding = 0;

export function render(view) {
  todo(view);
  held(view);
}

// A list with what to say when it is empty, and how many more there are.
function rows(list, shown, count, words, row) {
  put(find(`${list}-count`), count ? String(count) : "");
  const more = count - shown.length;
  fill(find(list), [...shown, ...(count ? [] : [null]), ...(more > 0 ? [{ more }] : [])], (one) => {
    if (one === null) return make("li", { className: "none", textContent: say(words.none) });
    if (one.more) return make("li", { className: "none", textContent: say(words.more, { count: one.more }) });
    return row(one);
  });
}

function todo(view) {
  rows("todo", view.followups, view.followup_count, { none: "todo_none", more: "todo_more" }, (row) => make("li", {},
    make("p", { className: "what", textContent: say(`reason_${row.reason}`) }),
    whom(row),
    make("ol", {}, ...row.do.map((step) => make("li", { textContent: step }))),
    make("p", { className: "acts" },
      act("settle", row.id, () => settle(row)),
      row.name ? act("reveal", row.id, () => reveal("followups", row.id)) : null)));
}

function whom(row) {
  return make("p", { className: "whom" },
    make("span", { textContent: row.name ? `${row.name} ${row.number}` : say("erased") }),
    make("time", { textContent: clock(row.at), dateTime: row.at }));
}

function act(key, record, does) {
  return make("button", { type: "button", textContent: say(key), onclick: does, data: { key: `${key} ${record}` } });
}

function held(view) {
  rows("held", view.held, view.held_count, { none: "held_none", more: "held_more" }, (row) => make("li", {},
    make("p", { className: "what", textContent: row.holds.map((hold) => say(`hold_${hold}`)).join("；") }),
    whom(row),
    make("p", { className: "acts" },
      row.fields.length ? act("complete", row.record, () => complete(row)) : null,
      row.name ? act("reveal", row.record, () => reveal("records", row.record)) : null)));
}

async function reveal(list, id) {
  try {
    const { name, number, seconds } = await post(`/api/page/${list}/${id}/reveal`);
    put(find("reveal-name"), name);
    put(find("reveal-number"), number);
    put(find("reveal-note"), say("reveal_note", { seconds }));
    find("reveal").showModal();
    clearTimeout(hiding);
    hiding = setTimeout(hide, seconds * 1000);
  } catch (error) {
    failed(error);
  }
}

// However the dialog ends - button, Esc, time, a lost connection - nothing of the person stays in the page.
export function hide() {
  clearTimeout(hiding);
  if (find("reveal").open) find("reveal").close();
  put(find("reveal-name"), "");
  put(find("reveal-number"), "");
}

function complete(row) {
  const form = find("complete-form");
  form.reset();
  put(find("complete-person"), `${row.name} ${row.number} ${clock(row.at)}`);
  for (const label of form.querySelectorAll("label[data-field]")) {
    label.hidden = !row.fields.includes(label.dataset.field);
  }
  ask("complete", () => {
    const values = row.fields.map((field) => [field, form.elements[field].value]);
    return post(`/api/page/records/${row.record}/complete`, Object.fromEntries(values.filter(([, value]) => value)));
  });
}

function settle(row) {
  const form = find("settle-form");
  form.reset();
  put(find("settle-person"), `${say(`reason_${row.reason}`)} · ${row.name} ${row.number} ${clock(row.at)}`);
  put(find("settle-who"), say("settle_who", { name: find("operator-name").textContent }));
  ask("settle", () => {
    const how = [form.elements.how.value, form.elements.words.value].filter(Boolean).join("；");
    return post(`/api/page/followups/${row.id}/close`, { how });
  });
}

// Nobody answers, or nobody may look: the lists are emptied.
export function leave() {
  hide();
  for (const name of ["complete", "settle"]) if (find(name).open) find(name).close();
  for (const list of document.querySelectorAll(".rows")) {
    list.replaceChildren();
    delete list.dataset.shown;
  }
}

find("reveal").addEventListener("close", hide);
