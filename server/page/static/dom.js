// Small helpers for elements and for how times and numbers are written.

/** Make an element: `make("p", {class: "lead"}, "text", child)`. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Write text only where it changed: most of what is drawn again is the same. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Seconds as `m:ss`, or `h:mm:ss`. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value) => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes}:${two(whole % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** Seconds as people say them: `0.42 s`, `12 s`; a dash for what is not known. */
export function seconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return value < 10 ? `${value.toFixed(2)} s` : `${Math.round(value)} s`;
}

/** A number with at most one digit after the point; a dash for what is not known. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return value < 10 && !Number.isInteger(value) ? value.toFixed(1) : String(Math.round(value));
}

/** A share as per cent. */
export function percent(value) {
  return value === null || value === undefined ? "–" : `${Math.round(value * 100)} %`;
}

/** Colours there are for sides and for lines of a plot. */
export const COLOURS = 6;

/** Call `draw` once before the next frame, however often this is called until then. */
export function onFrame(draw) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      draw();
    });
  };
}
