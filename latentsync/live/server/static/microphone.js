// Pieces of 20 ms of the microphone, with the number of their first sample on the clock of the sound card.
class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(Math.round(sampleRate / 50));
    this.filled = 0;
  }

  process([input]) {
    const samples = input[0] ?? new Float32Array(128); // before the first audio, and while there is none
    for (let k = 0; k < samples.length; k++) {
      if (!this.filled) this.first = currentFrame + k;
      this.piece[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(samples[k] * 32768)));
      if (this.filled === this.piece.length) {
        this.port.postMessage({ first: this.first, samples: this.piece.slice() });
        this.filled = 0;
      }
    }
    return true;
  }
}
registerProcessor("microphone", Microphone);
