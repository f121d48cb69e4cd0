// Where the load is: latency, devices, queues, batches over the last minutes, and what changed.

import { make, number, percent, seconds, write } from "./dom.js";
import { Feed } from "./link.js";
import { Plot } from "./plot.js";

const SPAN_S = 120;
const HAPPENINGS = 60;
const PROMISE_S = 3;

/** The view of shards and devices. */
export class LoadView {
  #cards = new Map();
  #tiles = new Map();
  #newest = null;
  #drawn = 0;

  constructor() {
    this.view = document.getElementById("view-load");
    this.tiles = document.getElementById("tiles");
    this.shards = document.getElementById("shards");
    this.happenings = document.getElementById("happenings");
    const root = document.getElementById("plots");
    const plot = (about) => new Plot(root, { spanS: SPAN_S, ...about });
    this.plots = {
      finals: plot({ title: "Latency of finals", write: seconds, least: 1, mark: { value: PROMISE_S, name: "promised under load" } }),
      used: plot({ title: "Utilisation", write: percent, least: 1, most: 1 }),
      queue: plot({ title: "Wait in the queue, 95 %", write: seconds, least: 0.5 }),
      batch: plot({ title: "Windows in a batch", write: number, least: 4 }),
    };
    this.#restart();
    this.feed = new Feed("/v1/load", {
      message: (message) => message.type === "load" && this.#take(message),
      state: (state) => state === "live" && this.#restart(),
    });
  }

  /** Draw what came while nobody looked. */
  wake() {
    this.#draw();
  }

  #restart() {
    for (const plot of Object.values(this.plots)) plot.clear();
    this.happenings.replaceChildren(make("li", { class: "nothing" }, "Nothing since this page was opened."));
    this.#newest = null;
  }

  #take(load) {
    this.#newest = load;
    const several = load.shards.length > 1;
    this.plots.finals.add("median", load.at, load.finals.p50_s);
    this.plots.finals.add("95 %", load.at, load.finals.p95_s);
    for (const shard of load.shards) {
      if (shard.load !== null) this.plots.used.add(shard.name, load.at, Math.min(shard.load, 1));
      for (const device of shard.devices) {
        const name = several ? `${shard.name} ${device.name}` : device.name;
        this.plots.used.add(name, load.at, device.utilisation);
        this.plots.queue.add(name, load.at, device.queue_p95_s);
        this.plots.batch.add(name, load.at, device.batch);
      }
    }
    for (const happening of load.happenings) this.#tell(happening);
    cancelAnimationFrame(this.#drawn); // the samples of the last minutes come all at once
    this.#drawn = requestAnimationFrame(() => this.#draw());
  }

  #tell({ at, what, where, text }) {
    this.happenings.querySelector(".nothing")?.remove();
    const when = new Date(at * 1000);
    this.happenings.prepend(make("li", { "data-what": what },
      make("time", { datetime: when.toISOString() }, when.toLocaleTimeString()), make("b", {}, where || what), make("span", {}, text)));
    while (this.happenings.children.length > HAPPENINGS) this.happenings.lastElementChild.remove();
  }

  #draw() {
    if (this.view.hidden || !this.#newest) return;
    const { shards, calls, finals } = this.#newest;
    const devices = shards.flatMap((shard) => shard.devices);
    const most = (values) => values.reduce((one, other) => (other === null || other === undefined ? one : Math.max(one ?? 0, other)), null);
    const waits = devices.filter((device) => device.state === "ready").map((device) => device.final_wait_s ?? 0);
    this.#tile("Calls", number(calls));
    this.#tile("Finals, 95 %", seconds(finals.p95_s));
    this.#tile("Next final waits", waits.length ? seconds(Math.min(...waits)) : "–");
    this.#tile(devices.length ? "Busiest device" : "Busiest shard", percent(most([...devices.map((device) => device.utilisation), ...shards.map((shard) => shard.load)])));
    this.#tile("Windows a second", number(devices.reduce((sum, device) => sum + device.windows, 0)));
    this.#tile("Interim words every", seconds(most(shards.map((shard) => shard.cadence_s))));
    for (const plot of Object.values(this.plots)) plot.draw();
    this.#drawShards(shards);
  }

  #tile(name, value) {
    let tile = this.#tiles.get(name);
    if (!tile) {
      tile = make("dd");
      this.#tiles.set(name, tile);
      this.tiles.append(make("div", { class: "tile" }, make("dt", {}, name), tile));
    }
    write(tile, value);
  }

  #drawShards(shards) {
    const seen = new Set();
    for (const shard of shards) {
      const part = this.#part(`shard ${shard.name}`, seen, this.shards, () => shardCard(shard.name));
      write(part.about, about(shard));
      for (const device of shard.devices) {
        const card = this.#part(`device ${shard.name} ${device.name}`, seen, part.cards, () => deviceCard(device.name));
        card.element.dataset.state = device.state;
        write(card.state, device.state);
        card.used.value = device.utilisation ?? 0;
        write(card.problem, device.state === "ready" ? "" : device.problem);
        card.facts({
          Utilisation: percent(device.utilisation),
          Waiting: number(device.waiting),
          "Queue, 95 %": seconds(device.queue_p95_s),
          "Next final waits": seconds(device.final_wait_s),
          Batch: number(device.batch),
          "Windows a second": number(device.windows),
          Restarts: number(device.restarts),
        });
      }
    }
    for (const [name, card] of this.#cards) {
      if (seen.has(name)) continue;
      card.element.remove();
      this.#cards.delete(name);
    }
  }

  #part(name, seen, root, build) {
    seen.add(name);
    let part = this.#cards.get(name);
    if (!part) {
      part = build();
      this.#cards.set(name, part);
      root.append(part.element);
    }
    return part;
  }
}

function about(shard) {
  return [
    `${shard.calls} ${shard.calls === 1 ? "call" : "calls"}`,
    shard.load !== null && `${percent(shard.load)} loaded`,
    shard.models.length && shard.models.join(" / "),
    shard.rung !== null && `rung ${shard.rung + 1} of ${shard.rungs}`,
    shard.draining && "draining",
  ].filter(Boolean).join(" · ");
}

function shardCard(name) {
  const about = make("p", { class: "quiet-text" });
  const cards = make("div", { class: "cards" });
  return { about, cards, element: make("section", { class: "shard" }, make("header", {}, make("h2", {}, `Shard ${name}`), about), cards) };
}

function deviceCard(name) {
  const state = make("span", { class: "device-state" });
  const used = make("meter", { min: "0", max: "1", value: "0", high: "0.85", low: "0.85", optimum: "0", "aria-label": `Utilisation of ${name}` });
  const problem = make("p", { class: "problem" });
  const list = make("dl");
  const values = new Map();
  const facts = (pairs) => {
    for (const [fact, value] of Object.entries(pairs)) {
      if (!values.has(fact)) {
        values.set(fact, make("dd"));
        list.append(make("div", {}, make("dt", {}, fact), values.get(fact)));
      }
      write(values.get(fact), value);
    }
  };
  return { state, used, problem, facts, element: make("article", { class: "card" }, make("header", {}, make("h3", {}, name), state), used, list, problem) };
}
