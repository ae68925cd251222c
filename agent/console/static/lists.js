// The registrar's lists: what is to be completed. Names and numbers come masked; one is shown on request.

import { post } from "./api.js";
import { clock, fill, find, make, put, say } from "./dom.js";

let hiding = 0;

export function render(view) {
  held(view);
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
  put(find("held-count"), view.held_count ? String(view.held_count) : "");
  const more = view.held_count - view.held.length;
  fill(find("held"), [...view.held, ...(view.held_count ? [] : [null]), ...(more > 0 ? [{ more }] : [])], (row) => {
    if (row === null) return make("li", { className: "none", textContent: say("held_none") });
    if (row.more) return make("li", { className: "none", textContent: say("held_more", { count: row.more }) });
    return make("li", {},
      make("p", { className: "what", textContent: row.holds.map((hold) => say(`hold_${hold}`)).join("；") }),
      whom(row),
      make("p", { className: "acts" },
        row.fields.length ? act("complete", row.record, () => complete(row)) : null,
        row.name ? act("reveal", row.record, () => reveal(row.record)) : null));
  });
}

export async function reveal(record) {
  try {
    const { name, number, seconds } = await post(`/api/page/records/${record}/reveal`);
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
  put(find("complete-failed"), "");
  put(find("complete-person"), `${row.name} ${row.number} ${clock(row.at)}`);
  for (const label of form.querySelectorAll("label[data-field]")) {
    label.hidden = !row.fields.includes(label.dataset.field);
  }
  form.onsubmit = async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(row.fields.map((field) => [field, form.elements[field].value]).filter(([, value]) => value));
    try {
      await post(`/api/page/records/${row.record}/complete`, values);
      find("complete").close();
    } catch (error) {
      put(find("complete-failed"), say("failed", error));
    }
  };
  find("complete").showModal();
}

// Nobody answers, or nobody may look: the lists are emptied.
export function leave() {
  hide();
  if (find("complete").open) find("complete").close();
  for (const list of document.querySelectorAll(".rows")) {
    list.replaceChildren();
    delete list.dataset.shown;
  }
}

export function failed(error) {
  put(find("connection"), say("failed", { title: error.title || error.message, code: error.code || "-" }));
}

find("reveal").addEventListener("close", hide);
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
