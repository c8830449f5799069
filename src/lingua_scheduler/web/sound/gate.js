// Finds where speech begins and pauses: the same rules as the Python client's `gate.py`, which explains them. A test
// lets both listen to the same recording.

export const FRAME_MS = 20;
export const FRAME_SAMPLES = 320;
const PAUSE_FRAMES = 500 / FRAME_MS;
const LEARNING_FRAMES = 1000 / FRAME_MS;
const PRE_ROLL_FRAMES = 300 / FRAME_MS;
const ONSET_FRAMES = 5;
const ONSET_VOICED = 3;
const SMOOTH_FRAMES = 3;
const FLOOR_FRAMES = 4000 / FRAME_MS;
const OPENS_AT = 3;
const STAYS_AT = 2;
const QUIETEST = 8;

export class SpeechGate {
  #state = "learning";
  #levels = []; // of the last four seconds, newest last
  #recent = [];
  #held = []; // frames that did not pass yet: all of `learning`, then the pre-roll of `quiet`
  #onset = [];
  #unvoiced = 0;
  #position = 0;

  get isSpeaking() {
    return this.#state === "speaking";
  }

  // Takes 20 ms of 16 kHz samples (Int16Array). Returns what to do, in order: `{frame, position, isVoiced}` is to be
  // sent, `{isPause: true}` ends an utterance.
  feed(frame) {
    push(this.#recent, loudness(frame), SMOOTH_FRAMES);
    const level = this.#recent.reduce((sum, one) => sum + one, 0) / this.#recent.length;
    push(this.#levels, level, FLOOR_FRAMES);
    const one = { frame, position: this.#position++, level };
    if (this.#state !== "learning") return this.#judge(one);
    this.#held.push(one);
    return this.#held.length >= LEARNING_FRAMES ? this.#learnt() : [];
  }

  // The sound has ended.
  flush() {
    const heard = this.#state === "learning" ? this.#learnt() : [];
    if (this.#state === "speaking") {
      this.#rest();
      heard.push({ isPause: true });
    }
    return heard;
  }

  #learnt() {
    const held = this.#held;
    this.#rest();
    return held.flatMap((one) => this.#judge(one));
  }

  #judge(one) {
    if (this.#state === "speaking") return this.#goOn(one);
    this.#held.push(one);
    push(this.#onset, one.level > this.#threshold(OPENS_AT), ONSET_FRAMES);
    if (this.#onset.filter(Boolean).length >= ONSET_VOICED) return this.#begin();
    while (this.#held.length > PRE_ROLL_FRAMES) this.#held.shift();
    return [];
  }

  #begin() {
    this.#state = "speaking";
    this.#unvoiced = 0;
    const threshold = this.#threshold(OPENS_AT);
    const passed = this.#held.map(({ frame, position, level }) => ({ frame, position, isVoiced: level > threshold }));
    this.#held = [];
    return passed;
  }

  #goOn({ frame, position, level }) {
    const isVoiced = level > this.#threshold(STAYS_AT);
    this.#unvoiced = isVoiced ? 0 : this.#unvoiced + 1;
    const passed = [{ frame, position, isVoiced }];
    if (this.#unvoiced >= PAUSE_FRAMES) {
      this.#rest();
      passed.push({ isPause: true });
    }
    return passed;
  }

  #rest() {
    this.#state = "quiet";
    this.#held = [];
    this.#onset = [];
  }

  #threshold(times) {
    const sorted = [...this.#levels].sort((a, b) => a - b);
    return Math.max(QUIETEST, times * sorted[Math.floor(sorted.length / 10)]);
  }
}

// Root mean square of the differences between neighbouring samples.
export function loudness(frame) {
  let sum = 0;
  for (let at = 1; at < frame.length; at += 1) sum += (frame[at] - frame[at - 1]) ** 2;
  return Math.sqrt(sum / frame.length);
}

function push(list, value, most) {
  list.push(value);
  if (list.length > most) list.shift();
}
