// Speaks translations one after the other, at a speed, and again on demand.
//
// One `<audio>` element plays everything: browsers that ask for a person's touch ask once for each element, and it
// keeps the pitch where the speed changes. `auto` hurries a little while translations queue up, so that speech never
// falls ever further behind. `onState` hears `waiting`, `playing` and `played`; whatever happens, `played` comes last.

import { fromBase64 } from "../session/frames.js";
import { oggFromPackets, splitPackets } from "./ogg.js";

const HURRY = [1, 1.1, 1.25, 1.4, 1.5]; // by the number that wait
const PLAY_MAX_MS = 120_000; // a sound that never ends must not keep the next ones waiting

export class Player extends EventTarget {
  #audio = new Audio();
  #queue = [];
  #current = null;
  #speed = "auto";
  #silence = null; // 20 ms of it, as an address

  constructor() {
    super();
    this.#audio.preservesPitch = true;
  }

  // Call this from a click: a page may make sound only after a person has touched it.
  unlock() {
    if (this.#current) return;
    this.#silence ??= URL.createObjectURL(wavBlob(new Uint8Array(640), 16_000));
    this.#audio.src = this.#silence;
    this.#audio.play().catch(() => {}); // refused: the first translation will say so
  }

  get waiting() {
    return this.#queue.length;
  }

  get isPlaying() {
    return this.#current !== null;
  }

  // "auto", or a number of times the spoken speed.
  set speed(value) {
    this.#speed = value === "auto" ? value : Number(value);
    this.#audio.playbackRate = this.#rate();
  }

  // Play after what is already waiting.
  enqueue(speech, onState) {
    this.#queue.push({ speech, onState });
    onState("waiting");
    this.#next();
  }

  // Play now; what was playing is cut, what waits goes on afterwards.
  replay(speech, onState) {
    this.#queue.unshift({ speech, onState });
    if (this.#current) this.skip();
    else this.#next();
  }

  // Cut what is playing.
  skip() {
    this.#current?.finish();
  }

  // Forget what waits and be silent.
  stop() {
    for (const { onState } of this.#queue.splice(0)) onState("played");
    this.skip();
    this.#changed();
  }

  async #next() {
    if (this.#current || this.#queue.length === 0) return;
    const { speech, onState } = this.#queue.shift();
    let finish;
    const finished = new Promise((resolve) => (finish = resolve));
    this.#current = { finish };
    this.#changed();
    const url = URL.createObjectURL(speechBlob(speech));
    const timer = setTimeout(finish, PLAY_MAX_MS);
    try {
      this.#audio.onended = finish;
      this.#audio.onerror = finish;
      this.#audio.src = url;
      this.#audio.playbackRate = this.#rate();
      await Promise.race([this.#audio.play(), finished]);
      onState("playing");
      await finished;
    } catch (error) {
      console.warn("a spoken translation cannot be played", error);
      this.dispatchEvent(new CustomEvent("trouble", { detail: { isRefused: error.name === "NotAllowedError" } }));
    }
    clearTimeout(timer);
    this.#audio.pause();
    URL.revokeObjectURL(url);
    this.#current = null;
    onState("played");
    this.#changed();
    this.#next();
  }

  #rate() {
    return this.#speed === "auto" ? HURRY[Math.min(this.#queue.length, HURRY.length - 1)] : this.#speed;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

// The spoken translation of a `translation_result` as a file that browsers play.
export function speechBlob({ tts_audio, tts_format, tts_sample_rate }) {
  const bytes = fromBase64(tts_audio);
  if (tts_format === "opus") return oggFromPackets(splitPackets(bytes));
  if (tts_format === "pcm16") return wavBlob(bytes, tts_sample_rate ?? 16_000);
  return new Blob([bytes], { type: `audio/${tts_format}` });
}

function wavBlob(pcm, rate) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((char, n) => view.setUint8(at + n, char.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + pcm.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, pcm.length, true);
  return new Blob([view, pcm], { type: "audio/wav" });
}
