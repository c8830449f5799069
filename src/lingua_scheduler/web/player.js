// Speaks translations one after the other, and again on demand.

import { oggFromPackets, splitPackets } from "./ogg.js";

export class Player {
  #context = null;
  #queue = [];
  #current = null;

  // Browsers let a page make sound only after a person has touched it: call this from a click.
  unlock() {
    this.#context ??= new AudioContext();
    return this.#context.resume();
  }

  // Play after what is already waiting. `onState` hears `waiting`, `playing` and `played`.
  enqueue(result, onState) {
    this.#queue.push({ result, onState });
    onState("waiting");
    this.#next();
  }

  // Play now; what was playing is cut, what waits goes on afterwards.
  replay(result, onState) {
    this.#queue.unshift({ result, onState });
    if (this.#current) this.#current.source.stop();
    else this.#next();
  }

  // Forget what waits and be silent.
  stop() {
    this.#queue.splice(0).forEach(({ onState }) => onState("played"));
    this.#current?.source.stop();
  }

  async #next() {
    if (this.#current || this.#queue.length === 0) return;
    const { result, onState } = this.#queue.shift();
    this.#current = { source: { stop() {} } }; // taken, while it is decoded
    try {
      await this.unlock();
      const source = this.#context.createBufferSource();
      source.buffer = await decodeSpeech(this.#context, result);
      source.connect(this.#context.destination);
      this.#current = { source };
      onState("playing");
      await new Promise((resolve) => {
        source.onended = resolve;
        source.start();
      });
    } catch (error) {
      console.error("a spoken translation cannot be played", error);
    }
    this.#current = null;
    onState("played");
    this.#next();
  }
}

// The spoken translation of a `translation_result` as an AudioBuffer.
export async function decodeSpeech(context, { tts_audio, tts_format, tts_sample_rate }) {
  const bytes = Uint8Array.from(atob(tts_audio), (char) => char.charCodeAt(0));
  if (tts_format === "pcm16") return fromPcm(context, bytes, tts_sample_rate ?? 16000);
  const file = tts_format === "opus" ? await oggFromPackets(splitPackets(bytes)).arrayBuffer() : bytes.buffer;
  return context.decodeAudioData(file);
}

function fromPcm(context, bytes, rate) {
  const samples = new Int16Array(bytes.buffer);
  const buffer = context.createBuffer(1, samples.length, rate);
  buffer.copyToChannel(Float32Array.from(samples, (sample) => sample / 32768), 0);
  return buffer;
}
