// The entrance: trades the one-time code behind the # for a session. The code never reaches a server's log
// or the browser's history.

import { post } from "./api.js";

const code = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
try {
  await post("/api/page/open", { code });
  location.replace("/");
} catch (error) {
  document.getElementById("entrance").dataset.state = "attention";
  document.getElementById("headline").textContent = document.body.dataset.failed;
  document.getElementById("said").textContent = error.code ? `${error.title} (${error.code})` : String(error.message);
}
