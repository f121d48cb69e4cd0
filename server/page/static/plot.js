// Lines over the last minutes, drawn on a canvas.

import { COLOURS, make, write } from "./dom.js";

const HEIGHT_PX = 150;
const LEFT_PX = 44;
const BOTTOM_PX = 20;
const TOP_PX = 8;
const STEPS = [1, 2, 2.5, 5, 10];

/** One plot: lines by name, values over time. */
export class Plot {
  #lines = new Map(); // name -> {side, points: [{at, value}], key}
  #most;

  /**
   * @param {HTMLElement} root Where it is added.
   * @param {object} about
   * @param {string} about.title What is shown.
   * @param {(value: number) => string} about.write How a value is written.
   * @param {number} about.spanS Seconds across.
   * @param {number} [about.least] Smallest upper end of the scale.
   * @param {number} [about.most] Largest one.
   * @param {{value: number, name: string}} [about.mark] A line that should not be crossed.
   */
  constructor(root, about) {
    this.about = about;
    this.#most = about.least ?? 0;
    this.canvas = make("canvas", { role: "img", "aria-label": about.title });
    this.keys = make("ul", { class: "keys", "aria-hidden": "true" });
    this.element = make("figure", { class: "plot" }, make("figcaption", {}, make("h2", {}, about.title), this.keys), this.canvas);
    root.append(this.element);
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  /** Forget everything. */
  clear() {
    this.#lines.clear();
    this.keys.replaceChildren();
  }

  /** Add a value of a line; null for a moment without one. */
  add(name, at, value) {
    let line = this.#lines.get(name);
    if (!line) {
      const side = this.#lines.size % COLOURS;
      const now = make("span");
      line = { side, points: [], now, key: make("li", { "data-side": side }, `${name} `, now) };
      this.#lines.set(name, line);
      this.keys.append(line.key);
    }
    line.points.push({ at, value: value ?? null });
    while (line.points.length && line.points[0].at < at - this.about.spanS - 2) line.points.shift();
  }

  /** Draw what there is, up to the newest moment. */
  draw() {
    const { canvas, about } = this;
    const width = canvas.clientWidth;
    if (!width) return;
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(HEIGHT_PX * scale);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    const style = getComputedStyle(canvas);
    pen.font = `11px ${style.fontFamily}`;

    const lines = [...this.#lines.values()];
    const newest = Math.max(...lines.map((line) => line.points.at(-1)?.at ?? 0));
    const values = lines.flatMap((line) => line.points.map((point) => point.value ?? 0));
    const top = Math.min(niceTop(Math.max(about.least ?? 0, ...values)), about.most ?? Infinity);
    const bottom = HEIGHT_PX - BOTTOM_PX;
    const x = (at) => LEFT_PX + (1 - (newest - at) / about.spanS) * (width - LEFT_PX - 2);
    const y = (value) => bottom - (Math.min(value, top) / top) * (bottom - TOP_PX);

    pen.fillStyle = pen.strokeStyle = style.color; // of the canvas: that of quiet text
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const share of [0, 0.5, 1]) {
      pen.globalAlpha = 0.25;
      rule(pen, LEFT_PX, width, y(top * share));
      pen.globalAlpha = 1;
      pen.fillText(about.write(top * share), LEFT_PX - 6, y(top * share));
    }
    pen.textAlign = "left";
    pen.fillText(`${Math.round(about.spanS / 60)} min ago`, LEFT_PX, HEIGHT_PX - 7);
    pen.textAlign = "right";
    pen.fillText("now", width - 2, HEIGHT_PX - 7);
    if (about.mark && about.mark.value <= top) {
      pen.setLineDash([4, 4]);
      rule(pen, LEFT_PX, width, y(about.mark.value));
      pen.setLineDash([]);
      pen.fillText(about.mark.name, width - 4, y(about.mark.value) - 8);
    }
    pen.save();
    pen.beginPath();
    pen.rect(LEFT_PX, 0, width - LEFT_PX, bottom + 1);
    pen.clip();
    pen.lineWidth = 1.75;
    pen.lineJoin = "round";
    for (const line of lines) {
      pen.strokeStyle = pen.fillStyle = getComputedStyle(line.key).getPropertyValue("border-left-color");
      trace(pen, line.points, x, y, bottom, lines.length === 1);
      write(line.now, about.write(line.points.at(-1)?.value ?? null));
    }
    pen.restore();
    const said = [...this.#lines].map(([name, line]) => `${name} ${about.write(line.points.at(-1)?.value ?? null)}`);
    canvas.setAttribute("aria-label", `${about.title}: ${said.join(", ") || "nothing yet"}`);
  }
}

function rule(pen, from, to, at) {
  pen.beginPath();
  pen.moveTo(from, Math.round(at) + 0.5);
  pen.lineTo(to, Math.round(at) + 0.5);
  pen.stroke();
}

/** Draw a line with gaps where there is no value; a lonely one is filled below. */
function trace(pen, points, x, y, bottom, filled) {
  let run = [];
  const finish = () => {
    if (!run.length) return;
    pen.beginPath();
    run.forEach((point, number) => (number ? pen.lineTo(x(point.at), y(point.value)) : pen.moveTo(x(point.at), y(point.value))));
    if (run.length === 1) pen.lineTo(x(run[0].at) + 1.5, y(run[0].value));
    pen.stroke();
    if (filled) {
      pen.lineTo(x(run.at(-1).at), bottom);
      pen.lineTo(x(run[0].at), bottom);
      pen.globalAlpha = 0.1;
      pen.fill();
      pen.globalAlpha = 1;
    }
    run = [];
  };
  for (const point of points) {
    if (point.value === null) finish();
    else run.push(point);
  }
  finish();
}

/** The next round number at or above a value. */
function niceTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * STEPS.find((step) => step * power >= value * 0.999);
}
