// Runs beside the page, where audio is not late: the microphone's samples as 16-bit numbers, some 40 ms at a time.

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(Math.round(sampleRate * 0.04));
    this.filled = 0;
    this.peak = 0;
  }

  process([[samples]]) {
    if (!samples) return true; // not connected yet
    for (const sample of samples) {
      const held = Math.max(-1, Math.min(1, sample));
      this.peak = Math.max(this.peak, Math.abs(held));
      this.piece[this.filled] = Math.round(held * 32767);
      this.filled += 1;
      if (this.filled === this.piece.length) this.send();
    }
    return true;
  }

  send() {
    const samples = this.piece.slice().buffer;
    this.port.postMessage({ samples, peak: this.peak }, [samples]);
    this.filled = 0;
    this.peak = 0;
  }
}

registerProcessor("recorder", Recorder);
