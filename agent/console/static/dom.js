// Building the page without a line of HTML in a script: text is always text.

export const words = JSON.parse(document.body.dataset.words);

export const find = (id) => document.getElementById(id);

export function say(key, facts = {}) {
  return words[key].replace(/\{(\w+)\}/g, (_, name) => facts[name] ?? "?");
}

export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "data") Object.assign(node.dataset, value);
    else if (name.startsWith("aria-") || name === "scope") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Write only what differs: a screen reader hears each change once, and the focus stays where it is.
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function fill(list, rows, key) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const wanted = JSON.stringify(rows);
  if (list.dataset.shown === wanted) return;
  list.dataset.shown = wanted;
  list.replaceChildren(...rows.map(key));
  if (focused) list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

const time = new Intl.DateTimeFormat("zh-CN", { timeZone: "Asia/Shanghai", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const full = new Intl.DateTimeFormat("zh-CN", { timeZone: "Asia/Shanghai", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export const clock = (iso) => (iso ? time.format(new Date(iso)) : "");
export const moment = (iso) => (iso ? full.format(new Date(iso)) : "–");
