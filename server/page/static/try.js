// The microphone, or a recording, through the native protocol.

import { clock, write } from "./dom.js";
import { open, refusal } from "./link.js";
import { Transcript } from "./transcript.js";

const RATES = [8000, 16000, 24000, 44100, 48000];
const FILE_HZ = 16000;
const FILE_PIECE_S = 0.1;
const MOST_SIDES = 2;

/** Sound from the microphone. */
class Microphone {
  static async begin() {
    if (!navigator.mediaDevices) throw new Error("Browsers give the microphone only to pages on https or on this machine.");
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true } });
    let context = new AudioContext();
    if (!RATES.includes(context.sampleRate)) {
      await context.close();
      context = new AudioContext({ sampleRate: 48000 });
    }
    await context.audioWorklet.addModule("recorder.js");
    return new Microphone(stream, context);
  }

  constructor(stream, context) {
    this.stream = stream;
    this.context = context;
    this.rate = context.sampleRate;
    this.labels = ["you"];
  }

  start(onPiece) {
    const recorder = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    recorder.port.onmessage = ({ data }) => onPiece(data.samples, data.peak);
    this.context.createMediaStreamSource(this.stream).connect(recorder);
    return this.context.resume();
  }

  stop() {
    for (const track of this.stream.getTracks()) track.stop();
    if (this.context.state !== "closed") this.context.close();
  }
}

/** A recording, played at the speed of life: one side for each channel, of the first two. */
class Recording {
  static async begin(file, aloud) {
    const bytes = await file.arrayBuffer();
    try {
      return new Recording(await new OfflineAudioContext(1, 1, FILE_HZ).decodeAudioData(bytes), aloud);
    } catch {
      throw new Error(`This browser cannot read ${file.name}; WAV, MP3, Ogg and FLAC usually work.`);
    }
  }

  constructor(buffer, aloud) {
    this.buffer = buffer;
    this.rate = FILE_HZ;
    const sides = Math.min(buffer.numberOfChannels, MOST_SIDES);
    this.labels = sides === 1 ? ["recording"] : ["left", "right"];
    this.sides = this.labels.map((_, channel) => buffer.getChannelData(channel));
    this.context = aloud ? new AudioContext() : null;
  }

  async start(onPiece, onEnd) {
    if (this.context) {
      const player = this.context.createBufferSource();
      player.buffer = this.buffer;
      player.connect(this.context.destination);
      await this.context.resume();
      player.start();
    }
    const began = performance.now();
    let sent = 0;
    this.timer = setInterval(() => {
      const due = Math.min(Math.round(((performance.now() - began) / 1000) * this.rate), this.buffer.length);
      if (due > sent) onPiece(...this.#piece(sent, due));
      sent = due;
      if (sent >= this.buffer.length) {
        clearInterval(this.timer);
        onEnd();
      }
    }, FILE_PIECE_S * 1000);
  }

  stop() {
    clearInterval(this.timer);
    if (this.context && this.context.state !== "closed") this.context.close();
  }

  #piece(from, to) {
    const samples = new Int16Array((to - from) * this.sides.length);
    let peak = 0;
    this.sides.forEach((side, channel) => {
      for (let at = from; at < to; at += 1) {
        const held = Math.max(-1, Math.min(1, side[at]));
        peak = Math.max(peak, Math.abs(held));
        samples[(at - from) * this.sides.length + channel] = Math.round(held * 32767);
      }
    });
    return [samples.buffer, peak];
  }
}

/** The view to try it. */
export class TryView {
  #source = null;
  #socket = null;
  #timer = 0;

  constructor() {
    const of = (name) => document.getElementById(`try-${name}`);
    [this.mic, this.file, this.stopper, this.language, this.aloud, this.level, this.status] =
      ["mic", "file", "stop", "language", "aloud", "level", "status"].map(of);
    this.root = of("transcript");
    this.hint = of("hint");
    this.transcript = new Transcript(this.root);
    this.mic.addEventListener("click", () => this.#run(() => Microphone.begin(), "Listening"));
    this.file.addEventListener("change", () => {
      const [file] = this.file.files;
      this.file.value = "";
      if (file) this.#run(() => Recording.begin(file, this.aloud.checked), `Playing ${file.name}`);
    });
    this.stopper.addEventListener("click", () => this.#finish());
  }

  async #run(begin, doing) {
    if (this.#source || this.#socket) return;
    this.#busy(true);
    this.#say("Getting ready");
    try {
      this.#source = await begin();
    } catch (problem) {
      this.#done(problem.name === "NotAllowedError" ? "The browser did not allow the microphone." : problem.message);
      return;
    }
    const socket = (this.#socket = open("/v1/stream"));
    let last = "";
    let opened = false;
    socket.onopen = () => {
      opened = true;
      const audio = { encoding: "linear16", sample_rate: this.#source.rate, channels: this.#source.labels.length };
      socket.send(JSON.stringify({ type: "start", audio, labels: this.#source.labels, language: this.language.value || null }));
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "ready") this.#listen(message, doing);
      else if (message.type === "error") last = message.message;
      else this.transcript.take(message);
      if (message.type === "closed") last = `Over: ${clock(message.audio_s)} heard, ${message.finals} ${message.finals === 1 ? "final" : "finals"}.`;
    };
    socket.onclose = async () => this.#done(last || (opened ? "The connection was lost." : (await refusal("/v1/stream")).message || "The server cannot be reached."));
  }

  #listen({ call, labels }, doing) {
    const began = Date.now();
    this.hint.hidden = true;
    this.root.hidden = false;
    this.transcript.start(call, labels);
    const tell = () => this.#say(`${doing}, ${clock((Date.now() - began) / 1000)}`);
    this.#timer = setInterval(tell, 1000);
    tell();
    this.#source.start((samples, peak) => {
      this.level.value = Math.sqrt(peak); // as loud as it sounds, roughly
      if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(samples);
    }, () => this.#finish());
  }

  #finish() {
    clearInterval(this.#timer);
    this.#source?.stop();
    this.level.value = 0;
    if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#say("Waiting for the last words");
      this.#socket.send('{"type":"close"}');
    } else this.#socket?.close();
  }

  #done(text) {
    clearInterval(this.#timer);
    this.#source?.stop();
    this.#source = this.#socket = null;
    this.level.value = 0;
    this.#busy(false);
    this.#say(text);
  }

  #busy(busy) {
    const focused = [this.mic, this.stopper].includes(document.activeElement);
    this.mic.disabled = this.file.disabled = this.language.disabled = busy;
    this.stopper.hidden = !busy;
    if (focused) (busy ? this.stopper : this.mic).focus();
  }

  #say(text) {
    write(this.status, text);
  }
}
