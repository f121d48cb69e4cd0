// One call of others, watched: its text from the beginning, then as it comes.

import { clock, make, write } from "./dom.js";
import { Feed } from "./link.js";
import { Transcript } from "./transcript.js";

/** The pane of one call; `close` when it is left. */
export class CallPane {
  #feed;
  #timer;
  #openedAt = null;
  #over = false;

  /**
   * @param {HTMLElement} root Where it is shown.
   * @param {string} call Its id.
   * @param {number|null} openedAt Unix seconds, where they are known.
   */
  constructor(root, call, openedAt) {
    this.#openedAt = openedAt;
    this.state = make("span", { class: "pill", role: "status" }, "Connecting");
    this.time = make("span", { class: "call-time" });
    const body = make("div", { class: "call-body" });
    root.replaceChildren(
      make("header", { class: "pane-head" },
        make("a", { class: "back", href: "#/calls", "aria-label": "All calls" }, "‹"),
        make("h2", { title: call }, call), this.time, this.state),
      body);
    const transcript = (this.transcript = new Transcript(body));
    transcript.start(call, []);
    this.#feed = new Feed(`/v1/calls/${encodeURIComponent(call)}/events`, {
      message: (message) => {
        if (message.type === "watching") transcript.start(message.call, message.labels);
        else transcript.take(message);
        if (message.type === "closed") this.#end(message);
      },
      state: (state, why) => this.#show(state, why),
    });
    this.#timer = setInterval(() => this.#tick(), 1000);
    this.#tick();
  }

  close() {
    this.#feed.close();
    clearInterval(this.#timer);
  }

  #tick() {
    if (this.#openedAt !== null && !this.#over) write(this.time, clock(Date.now() / 1000 - this.#openedAt));
  }

  #end(closed) {
    this.#over = true;
    write(this.time, clock(closed.audio_s));
    this.#say("over", `Over: ${closed.reason}`);
  }

  #show(state, why) {
    if (this.#over) return;
    if (state === "live") this.#say("live", "Live");
    else if (state === "refused") this.#say("bad", why.status === 404 ? "Not a call you can see" : why.message);
    else this.#say("", state === "lost" ? "Connection lost" : "Connecting");
  }

  #say(kind, text) {
    this.state.dataset.kind = kind;
    write(this.state, text);
  }
}
