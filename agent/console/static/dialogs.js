// Questions: the operator, no picture, settling. A dialog closes when the agent has said yes.

import { post } from "./api.js";
import { fill, find, make, put, say } from "./dom.js";

export function ask(name, submit) {
  const dialog = find(name);
  put(find(`${name}-failed`), "");
  find(`${name}-form`).onsubmit = async (event) => {
    event.preventDefault();
    try {
      await submit();
      dialog.close();
    } catch (error) {
      put(find(`${name}-failed`), told(error));
    }
  };
  dialog.showModal();
}

export function failed(error) {
  put(find("connection"), told(error));
}

const told = (error) => say("failed", { title: error.title || error.message, code: error.code || "-" });

const trying = (does) => does().catch(failed);

// --- operator ---

let operator = { name: "", signed_in: false, list: [] };

export function render(view) {
  operator = view.operator;
  put(find("operator-name"), operator.name || say("operator_none"));
  find("operator").dataset.signed = operator.name ? "yes" : "no";
}

export function signIn() {
  const form = find("sign-in-form");
  form.reset();
  fill(find("operator-list"), operator.list, (name) =>
    make("label", { className: "choice" }, make("input", { type: "radio", name: "chosen", value: name }), name));
  find("sign-out").hidden = !operator.signed_in;
  find("sign-out").onclick = () => trying(async () => {
    await post("/api/page/operator", { name: "" });
    find("sign-in").close();
  });
  form.elements.typed.required = !operator.list.length;
  ask("sign-in", () => {
    const chosen = form.querySelector("[name=chosen]:checked");
    return post("/api/page/operator", { name: form.elements.typed.value.trim() || (chosen ? chosen.value : " ") });
  });
}

find("operator").addEventListener("click", signIn);

// --- the attempt under way ---

const underWay = () => !find("answers").hidden;

export function wrongCard() {
  if (underWay()) trying(() => post("/api/page/attempt/end", { why: "wrong_card" }));
}

export function decline() {
  if (!underWay()) return;
  const form = find("declined-form");
  form.reset();
  ask("declined", () => post("/api/page/attempt/end", { why: form.elements.why.value }));
}

find("wrong-card").addEventListener("click", wrongCard);
find("decline").addEventListener("click", decline);
find("again").addEventListener("click", () => trying(() => post("/api/page/attempt/again")));

for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
