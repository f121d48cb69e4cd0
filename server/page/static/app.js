// The page: which view is shown, the key, the colours.

import { CallsView } from "./calls.js";
import { write } from "./dom.js";
import { about, key } from "./link.js";
import { LoadView } from "./load.js";
import { TryView } from "./try.js";

const THEMES = { "": "as the system", light: "light", dark: "dark" };
const THEME = "trunkline.theme";
const TITLES = { calls: "Calls", load: "Load", try: "Try it" };

const state = document.getElementById("link-state");
const dialog = document.getElementById("key-dialog");
let views = null;

function show() {
  const [, name = "calls", ...rest] = location.hash.split("/");
  const chosen = name in TITLES ? name : "calls";
  for (const view of Object.keys(TITLES)) document.getElementById(`view-${view}`).hidden = view !== chosen;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${chosen}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const call = chosen === "calls" && rest.length ? decodeURIComponent(rest.join("/")) : null;
  document.title = `${call ?? TITLES[chosen]} · Trunkline`;
  views?.calls.choose(call);
  if (chosen === "load") views?.load.wake();
}

function start() {
  views = { calls: new CallsView(tell), load: new LoadView(), try: new TryView() };
  show();
}

function tell(now, why) {
  state.dataset.kind = { live: "live", refused: "bad" }[now] ?? "";
  write(state, { live: "Live", connecting: "Connecting", lost: "Connection lost", over: "Over", refused: "No access" }[now]);
  if (now === "refused" && why.status === 401) ask(key.get() ? "This key is not known to the server." : "");
  else if (now === "refused") write(document.querySelector(".empty-title"), why.message);
}

function ask(problem) {
  write(document.getElementById("key-problem"), problem);
  if (!dialog.open) dialog.showModal();
}

function colours(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  document.getElementById("theme-button").setAttribute("aria-label", `Colours: ${THEMES[theme]}`);
  views?.load.wake(); // what is drawn by hand has the colours of the moment it was drawn
}

document.getElementById("theme-button").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(localStorage.getItem(THEME) ?? "") + 1) % names.length];
  localStorage.setItem(THEME, next);
  colours(next);
});
document.getElementById("key-button").addEventListener("click", () => ask(""));
document.getElementById("key-form").addEventListener("submit", (event) => {
  const input = document.getElementById("key-input");
  if (!key.fits(input.value)) {
    event.preventDefault();
    ask("A browser cannot send this key: let it be of letters, digits and - . _ ~ only, as `openssl rand -hex 32` makes it.");
    return;
  }
  key.set(input.value);
  input.value = "";
  location.reload();
});
window.addEventListener("hashchange", () => {
  show();
  document.getElementById("main").focus({ preventScroll: true });
});

colours(localStorage.getItem(THEME) ?? "");
const { key_needed: needed } = await about();
document.getElementById("key-button").hidden = !needed;
if (needed && !key.get()) {
  show();
  tell("refused", { status: 401 });
} else start();
