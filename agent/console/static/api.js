// Asking the agent. A change carries a header that no other site's page may set, and JSON.

export const lang = document.documentElement.dataset.lang;

export class Refused extends Error {
  constructor(status, body) {
    super(body.title || String(status));
    this.status = status;
    this.code = body.code || "";
    this.title = body.title || "";
  }
}

async function answered(response) {
  const body = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}

export async function get(path) {
  return answered(await fetch(`${path}?lang=${lang}`, { cache: "no-store" }));
}

export async function post(path, body = {}) {
  return answered(await fetch(`${path}?lang=${lang}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Kiosk-Page": "1" },
    body: JSON.stringify(body),
  }));
}
