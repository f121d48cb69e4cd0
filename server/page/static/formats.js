// A transcript as a file: text, SubRip, WebVTT, JSON.

const TYPES = { txt: "text/plain", srt: "application/x-subrip", vtt: "text/vtt", json: "application/json" };

/** Names of the formats, and what people call them. */
export const FORMATS = { txt: "Text", srt: "SRT", vtt: "VTT", json: "JSON" };

/**
 * Write a transcript.
 *
 * @param {string} format One of FORMATS.
 * @param {{call: string, labels: string[], finals: object[]}} transcript Finals as the native protocol has them.
 */
export function formatted(format, transcript) {
  const finals = [...transcript.finals].sort((one, other) => one.start - other.start || one.channel - other.channel);
  switch (format) {
    case "txt":
      return finals.map((final) => `[${stamp(final.start, ".")}] ${final.label}: ${final.text}\n`).join("");
    case "srt":
      return finals.map((final, at) => `${at + 1}\n${span(final, ",")}\n${said(final)}\n`).join("\n");
    case "vtt":
      return ["WEBVTT\n", ...finals.map((final) => `${span(final, ".")}\n<v ${escaped(final.label)}>${escaped(final.text)}\n`)].join("\n");
    case "json":
      return `${JSON.stringify({ call: transcript.call, labels: transcript.labels, finals }, null, 2)}\n`;
    default:
      throw new RangeError(`no format is called ${format}`);
  }
}

/** Hand a transcript to the browser as a file. */
export function download(format, transcript) {
  const blob = new Blob([formatted(format, transcript)], { type: `${TYPES[format]};charset=utf-8` });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${transcript.call.replace(/[^\w.-]+/g, "_") || "call"}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function said(final) {
  return `${final.label}: ${final.text}`;
}

function span(final, point) {
  return `${stamp(final.start, point)} --> ${stamp(final.end, point)}`;
}

function stamp(seconds, point) {
  const thousandths = Math.round(seconds * 1000);
  const field = (value, digits) => String(value).padStart(digits, "0");
  const [hours, minutes, rest] = [thousandths / 3_600_000, (thousandths / 60_000) % 60, (thousandths / 1000) % 60].map(Math.floor);
  return `${field(hours, 2)}:${field(minutes, 2)}:${field(rest, 2)}${point}${field(thousandths % 1000, 3)}`;
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("-->", "->");
}
