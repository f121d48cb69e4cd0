// All calls the key may see, each with the newest words of its sides; and the one that was chosen beside them.

import { CallPane } from "./call.js";
import { COLOURS, clock, make, onFrame, write } from "./dom.js";
import { Feed } from "./link.js";

const LINGER_MS = 60_000;
const SHORTEST_DRAW_MS = 120;

/** One call in the list. */
class Row {
  constructor(call, labels, openedAt) {
    this.call = call;
    this.labels = labels;
    this.openedAt = openedAt;
    this.endedS = null;
    this.dirty = true;
    this.visible = false;
    this.sides = labels.map((label, channel) => ({ label, channel, fixed: "", open: "", stable: 0 }));
    this.time = make("span", { class: "row-time" });
    this.link = make("a", { href: `#/calls/${encodeURIComponent(call)}` },
      make("span", { class: "row-top" }, make("span", { class: "row-id" }, call), this.time),
      ...this.sides.map((side) => {
        side.fixedAt = make("span", { class: "fixed" });
        side.openAt = make("span", { class: "open" });
        return make("span", { class: "row-line", "data-side": side.channel % COLOURS }, make("b", {}, side.label), make("span", { class: "row-said" }, side.fixedAt, side.openAt));
      }));
    this.element = make("li", {}, this.link);
  }

  take(message) {
    const side = this.sides[message.channel];
    if (!side) return;
    if (message.type === "final") {
      side.fixed = message.text;
      side.open = "";
    } else {
      const words = message.text.split(" ");
      side.fixed = words.slice(0, message.stable).join(" ");
      side.open = words.slice(message.stable).join(" ");
    }
    this.dirty = true;
  }

  draw(now) {
    write(this.time, this.endedS === null ? clock(now - this.openedAt) : `${clock(this.endedS)} · over`);
    if (!this.dirty) return;
    this.dirty = false;
    for (const side of this.sides) {
      write(side.fixedAt, side.fixed && side.open ? `${side.fixed} ` : side.fixed);
      write(side.openAt, side.open);
    }
  }

  matches(query) {
    return !query || [this.call, ...this.labels, ...this.sides.map((side) => `${side.fixed} ${side.open}`)].join(" ").toLowerCase().includes(query);
  }
}

/** The view of calls. */
export class CallsView {
  #rows = new Map();
  #pane = null;
  #chosen = null;
  #drawnAt = 0;
  #watcher;
  #frame = onFrame(() => this.#draw());

  constructor(onState) {
    this.list = document.getElementById("calls-list");
    this.count = document.getElementById("calls-count");
    this.empty = document.getElementById("calls-empty");
    this.filter = document.getElementById("calls-filter");
    this.detail = document.getElementById("call-pane");
    this.view = document.getElementById("view-calls");
    this.filter.addEventListener("input", () => this.#sift());
    this.#watcher = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const row = this.#rows.get(target.dataset.call);
        if (row) row.visible = isIntersecting;
      }
      this.#frame();
    }, { root: this.list });
    this.#blank();
    this.feed = new Feed("/v1/calls", { message: (message) => this.#take(message), state: onState });
    setInterval(() => this.#frame(), 1000);
  }

  /** Show one call beside the list; null for none. */
  choose(call) {
    if (call === this.#chosen) return;
    this.#chosen = call;
    this.#pane?.close();
    this.#pane = null;
    this.view.classList.toggle("chosen", call !== null);
    for (const row of this.#rows.values()) this.#mark(row);
    if (call === null) this.#blank();
    else this.#pane = new CallPane(this.detail, call, this.#rows.get(call)?.openedAt ?? null);
  }

  #blank() {
    this.detail.replaceChildren(make("div", { class: "empty" }, make("p", { class: "empty-title" }, "Choose a call to read along.")));
  }

  #take(message) {
    switch (message.type) {
      case "calls":
        this.list.replaceChildren();
        this.#rows.clear();
        for (const call of message.calls) this.#add(call);
        break;
      case "opened":
        this.#add(message);
        break;
      case "partial":
      case "final":
        this.#rows.get(message.call)?.take(message);
        break;
      case "closed":
        this.#end(message);
        break;
    }
    this.#frame();
  }

  #add({ call, labels, opened_at: openedAt }) {
    this.#rows.get(call)?.element.remove();
    const row = new Row(call, labels, openedAt);
    row.element.dataset.call = call;
    this.#rows.set(call, row);
    this.list.prepend(row.element); // the newest first, and nobody changes places while one reads
    row.element.hidden = !row.matches(this.#query());
    this.#watcher.observe(row.element);
    this.#mark(row);
  }

  #end({ call, audio_s: audioS }) {
    const row = this.#rows.get(call);
    if (!row) return;
    row.endedS = audioS;
    row.element.classList.add("over");
    setTimeout(() => {
      if (this.#rows.get(call) !== row) return;
      this.#rows.delete(call);
      row.element.remove();
      this.#frame();
    }, LINGER_MS);
  }

  #mark(row) {
    if (row.call === this.#chosen) row.link.setAttribute("aria-current", "true");
    else row.link.removeAttribute("aria-current");
  }

  #query() {
    return this.filter.value.trim().toLowerCase();
  }

  #sift() {
    for (const row of this.#rows.values()) row.element.hidden = !row.matches(this.#query());
    this.#frame();
  }

  #draw() {
    if (this.view.hidden) return;
    const since = performance.now() - this.#drawnAt;
    if (since < SHORTEST_DRAW_MS) {
      // A list is skimmed: eight pictures a second read calmly, and leave the machine to whoever needs it.
      setTimeout(this.#frame, SHORTEST_DRAW_MS - since);
      return;
    }
    this.#drawnAt = performance.now();
    const now = Date.now() / 1000;
    let live = 0;
    for (const row of this.#rows.values()) {
      live += row.endedS === null;
      if (row.visible) row.draw(now);
    }
    write(this.count, this.#rows.size ? String(live) : "");
    this.empty.hidden = this.#rows.size > 0;
  }
}
