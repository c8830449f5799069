// Runs beside the audio: brings the microphone to 16 kHz PCM16 and hands it over in frames of 20 ms.

const RATE = 16000;
const FRAME_SAMPLES = 320;
const TAPS = 16; // zero crossings of the filter on each side: 60 dB down beyond 8.5 kHz

// Windowed-sinc resampling to 16 kHz. The positions of output samples between input samples repeat (3 of them from
// 48 kHz, 160 from 44.1 kHz), so the filter of each is made once.
class Resampler {
  constructor(from) {
    this.step = from / RATE;
    this.half = Math.ceil(TAPS * Math.max(1, this.step));
    this.phases = RATE / gcd(from, RATE);
    this.filters = Array.from({ length: this.phases }, (_, n) => this.#filter((n * this.step) % 1));
    this.input = new Float32Array(this.half); // silence before the first sample
    this.count = 0; // output samples so far
    this.dropped = 0; // input samples no longer kept
  }

  push(samples) {
    const joined = new Float32Array(this.input.length + samples.length);
    joined.set(this.input);
    joined.set(samples, this.input.length);
    this.input = joined;
    const output = [];
    for (;;) {
      const at = Math.floor(this.count * this.step + 1e-9) - this.dropped;
      if (at + 2 * this.half >= this.input.length) break;
      const filter = this.filters[this.count % this.phases];
      let sum = 0;
      for (let n = 0; n < filter.length; n += 1) sum += filter[n] * this.input[at + n];
      output.push(sum);
      this.count += 1;
    }
    const done = Math.floor(this.count * this.step + 1e-9) - this.dropped;
    this.input = this.input.subarray(done);
    this.dropped += done;
    return output;
  }

  #filter(offset) {
    const scale = 1 / Math.max(1, this.step);
    const weights = Float32Array.from({ length: 2 * this.half + 1 }, (_, n) => {
      const x = n - this.half - offset;
      const window = 0.5 + 0.5 * Math.cos((Math.PI * x) / (this.half + 1));
      const angle = Math.PI * x * scale;
      return (angle === 0 ? 1 : Math.sin(angle) / angle) * scale * window;
    });
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return weights.map((weight) => weight / sum);
  }
}

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = sampleRate === RATE ? null : new Resampler(sampleRate);
    this.frame = new Int16Array(FRAME_SAMPLES);
    this.filled = 0;
  }

  process([channels]) {
    if (channels.length > 0) {
      const mono = mix(channels);
      for (const sample of this.resampler ? this.resampler.push(mono) : mono) this.#add(sample);
    }
    return true;
  }

  #add(sample) {
    this.frame[this.filled] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
    this.filled += 1;
    if (this.filled === FRAME_SAMPLES) {
      this.port.postMessage(this.frame, [this.frame.buffer]);
      this.frame = new Int16Array(FRAME_SAMPLES);
      this.filled = 0;
    }
  }
}

function mix(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, at) => channels.reduce((sum, channel) => sum + channel[at], 0) / channels.length);
}

function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b);
}

registerProcessor("recorder", Recorder);
