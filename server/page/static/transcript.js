// A call's text on the page: finals stay, interim words change below them; search, and downloads.

import { COLOURS, clock, make, onFrame, seconds, write } from "./dom.js";
import { FORMATS, download } from "./formats.js";

const NEAR_END_PX = 80;

/** Shows one call; `take` gets the messages of the native protocol. */
export class Transcript {
  #call = "";
  #labels = [];
  #finals = [];
  #lines = []; // in step with the finals: the element of each
  #partials = new Map();
  #speaking = new Set();
  #shown = { query: "", at: -1, marks: [] };
  #follows = true;
  #draw = onFrame(() => this.#render());

  constructor(root) {
    this.search = make("input", {
      type: "search", placeholder: "Search in this call", "aria-label": "Search in this call", autocomplete: "off",
      spellcheck: "false",
      oninput: () => this.#find(),
      onkeydown: (event) => event.key === "Enter" && this.#step(event.shiftKey ? -1 : 1),
    });
    this.hits = make("output", { class: "hits", "aria-live": "polite" });
    this.before = make("button", { type: "button", class: "quiet", "aria-label": "Match before", hidden: true, onclick: () => this.#step(-1) }, "↑");
    this.next = make("button", { type: "button", class: "quiet", "aria-label": "Next match", hidden: true, onclick: () => this.#step(1) }, "↓");
    const files = Object.entries(FORMATS).map(([format, name]) =>
      make("button", { type: "button", class: "quiet", "data-format": format, onclick: () => download(format, this.value()) }, name));
    this.sides = make("ul", { class: "sides", "aria-label": "Sides" });
    this.lines = make("div", { class: "lines", role: "log", "aria-label": "What was said" });
    this.interim = make("div", { class: "interim", "aria-label": "What is being said", role: "group" });
    this.scroller = make("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Transcript", onscroll: () => this.#scrolled() }, this.lines, this.interim);
    this.latest = make("button", { type: "button", class: "latest", hidden: true, onclick: () => this.#toEnd() }, "Latest words ↓");
    root.replaceChildren(
      make("div", { class: "tools" },
        make("div", { class: "find" }, this.search, this.hits, this.before, this.next),
        make("div", { class: "files", role: "group", "aria-label": "Download" }, ...files)),
      this.sides, this.scroller, this.latest);
  }

  /** What a download holds. */
  value() {
    return { call: this.#call, labels: this.#labels, finals: this.#finals };
  }

  /** Begin anew: another call, or the same one told from its beginning. */
  start(call, labels) {
    this.#call = call;
    this.#labels = labels;
    this.#finals = [];
    this.#lines = [];
    this.#partials.clear();
    this.#speaking.clear();
    this.lines.replaceChildren();
    this.sides.replaceChildren(...labels.map((label, side) => make("li", { "data-side": side % COLOURS }, label)));
    this.#draw();
  }

  take(message) {
    switch (message.type) {
      case "partial":
        this.#partials.set(message.channel, message);
        break;
      case "final":
        this.#add(message);
        break;
      case "speech_started":
        this.#speaking.add(message.channel);
        break;
      case "speech_ended":
        this.#speaking.delete(message.channel);
        break;
      case "closed":
        this.#partials.clear();
        this.#speaking.clear();
        break;
      default:
        return;
    }
    this.#draw();
  }

  // --- finals ---

  #add(final) {
    const open = this.#partials.get(final.channel);
    if (open && open.number <= final.number) this.#partials.delete(final.channel);
    let at = this.#finals.length;
    while (at > 0 && this.#finals[at - 1].start > final.start) at -= 1; // sides overlap: the order is that of speech
    const line = this.#line(final);
    this.lines.insertBefore(line, this.#lines[at] ?? null);
    this.#finals.splice(at, 0, final);
    this.#lines.splice(at, 0, line);
    this.#join(at);
    this.#join(at + 1);
    if (this.#shown.query) this.#find(); // also the new line, and the count
  }

  #line(final) {
    const about = [final.language, final.model, seconds(final.latency_s)].filter(Boolean).join(" · ");
    return make("div", { class: "line", "data-side": final.channel % COLOURS },
      make("time", { title: `${final.start.toFixed(2)} s to ${final.end.toFixed(2)} s` }, clock(final.start)),
      make("div", {}, make("b", { class: "who" }, final.label), make("p", {}, final.text)),
      make("small", {}, about));
  }

  #join(at) {
    if (at >= this.#finals.length) return;
    this.#lines[at].classList.toggle("same", at > 0 && this.#finals[at - 1].channel === this.#finals[at].channel);
  }

  // --- drawing ---

  #render() {
    const open = [...this.#partials.values()].sort((one, other) => one.start - other.start);
    for (const side of [...this.interim.children]) {
      if (!open.some((partial) => String(partial.channel) === side.dataset.channel)) side.remove();
    }
    for (const partial of open) this.#renderOpen(partial);
    [...this.sides.children].forEach((side, channel) => side.classList.toggle("speaking", this.#speaking.has(channel)));
    if (this.#follows) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.latest.hidden = this.#follows;
  }

  #renderOpen(partial) {
    let line = [...this.interim.children].find((each) => each.dataset.channel === String(partial.channel));
    if (!line) {
      line = make("div", { class: "line", "data-side": partial.channel % COLOURS, "data-channel": partial.channel },
        make("time"), make("div", {}, make("b", { class: "who" }), make("p", {}, make("span", { class: "stable" }), make("span", { class: "open" }))));
      this.interim.append(line);
    }
    const words = partial.text.split(" ");
    write(line.querySelector("time"), clock(partial.start));
    write(line.querySelector(".who"), partial.label);
    write(line.querySelector(".stable"), words.slice(0, partial.stable).map((word) => `${word} `).join(""));
    write(line.querySelector(".open"), words.slice(partial.stable).join(" "));
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.#follows = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    this.latest.hidden = this.#follows;
  }

  #toEnd() {
    this.#follows = true;
    this.#draw();
    this.scroller.focus();
  }

  // --- search ---

  #find() {
    const query = this.search.value.trim().toLowerCase();
    const marks = [];
    this.#lines.forEach((line, at) => {
      const said = line.querySelector("p");
      const parts = query ? split(this.#finals[at].text, query) : [this.#finals[at].text];
      if (parts.length === 1 && !said.firstElementChild) return; // nothing here, before or now
      said.replaceChildren(...parts.map((part, number) => (number % 2 ? make("mark", {}, part) : part)));
      marks.push(...said.querySelectorAll("mark"));
    });
    this.#shown = { query, at: -1, marks };
    this.before.hidden = this.next.hidden = !marks.length;
    this.#count();
  }

  #step(by) {
    const { marks, at } = this.#shown;
    if (!marks.length) return;
    marks[at]?.classList.remove("current");
    this.#shown.at = (at + by + marks.length + (at < 0 && by < 0 ? 1 : 0)) % marks.length;
    const mark = marks[this.#shown.at];
    mark.classList.add("current");
    this.#follows = false;
    mark.scrollIntoView({ block: "center" });
    this.#count();
  }

  #count() {
    const { query, at, marks } = this.#shown;
    write(this.hits, !query ? "" : !marks.length ? "none" : at < 0 ? `${marks.length} found` : `${at + 1} of ${marks.length}`);
  }
}

/** Cut a text at each place of a query: what is at odd places is a match. */
function split(text, query) {
  const parts = [];
  const lower = text.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(query); at >= 0; at = lower.indexOf(query, from)) {
    parts.push(text.slice(from, at), text.slice(at, at + query.length));
    from = at + query.length;
  }
  parts.push(text.slice(from));
  return parts;
}
