// What was said and what it means in the other language: the truth that the page shows and that downloads are made of.
//
// An entry is one utterance as one reader sees it. It goes live → waiting → result, or missing; in a room, where what
// one says is translated for others, live → said. A `gap_timeout` is a promise, not an end, so its result may still
// come. Silence and what goes with the next sentence leave no entry behind. Emits `change{entry}`, `gone{entry}`,
// `clear`.
//
// Bound: the newest `SPOKEN_MAX` entries keep their speech for replay; texts are kept until they are cleared.

const SPOKEN_MAX = 100;
const LEAVE_NOTHING = new Set(["silence_detected", "no_speech", "merged"]);

export class Transcript extends EventTarget {
  entries = [];
  startedAt = new Date(); // of the conversation; the zero of its clock
  #zero = performance.now();
  #byKey = new Map();
  #session = 0;
  #spoken = [];
  #nextId = 1;
  // Indices begin anew with each session; entries of earlier ones stay.
  beginSession() {
    this.#session += 1;
    if (!this.isEmpty) return;
    this.startedAt = new Date();
    this.#zero = performance.now();
  }

  // Milliseconds since the conversation began.
  clockMs() {
    return Math.round(performance.now() - this.#zero);
  }

  get isEmpty() {
    return this.entries.length === 0;
  }

  // Somebody has begun to speak. `about` names languages and speaker: {srcLang, tgtLang, speaker, startMs}.
  started(index, about) {
    this.#change(this.#entry(index, about), {});
  }

  partial({ utterance_index, text, stable_chars }, about) {
    const entry = this.#entry(utterance_index, about);
    if (!["live", "waiting", "said"].includes(entry.kind)) return;
    this.#change(entry, { source: text, stableChars: stable_chars ?? 0 });
  }

  // All of it is said; the translation is being made, here or for others.
  ended(index, about, isForOthers) {
    const entry = this.#byKey.get(this.#key(index, about));
    if (entry?.kind === "live") this.#change(entry, { kind: isForOthers ? "said" : "waiting" });
  }

  // `extra`: {lateMs, startMs, endMs}.
  result(result, about, extra) {
    const entry = this.#entry(result.utterance_index, about);
    const speech = result.tts_audio ? result : null;
    this.#change(entry, {
      ...extra,
      kind: "result",
      reason: null,
      source: result.text_asr,
      translation: result.text_translated,
      srcLang: result.src_lang ?? entry.srcLang,
      tgtLang: result.tgt_lang ?? entry.tgtLang,
      timings: result.service_timings ?? null,
      quality: result.asr_quality_level ?? null,
      speech,
      sound: speech ? "waiting" : "none",
    });
    if (speech) this.#keepSpeech(entry);
    for (const index of result.said_late ?? []) this.#cut(index, about, false);
    this.#lacks(result, about);
    return entry;
  }

  // The ends of these could not be translated.
  #lacks({ utterance_index, unsaid }, about) {
    for (const index of unsaid ?? []) {
      // An utterance that went with a later one has no entry of its own.
      if (!this.#cut(index, about, true)) this.#cut(utterance_index, about, true);
    }
  }

  #cut(index, about, isCut) {
    const entry = this.#byKey.get(this.#key(index, about));
    if (entry) this.#change(entry, { isCut });
    return entry !== undefined;
  }

  missing(missing, about) {
    const { utterance_index, reason } = missing;
    this.#lacks(missing, about);
    const key = this.#key(utterance_index, about);
    if (!LEAVE_NOTHING.has(reason)) {
      this.#change(this.#entry(utterance_index, about), { kind: "missing", reason });
      return;
    }
    const entry = this.#byKey.get(key);
    if (!entry) return;
    this.#byKey.delete(key);
    this.entries.splice(this.entries.indexOf(entry), 1);
    this.#emit("gone", entry);
  }

  // waiting · playing · played
  sound(entry, state) {
    this.#change(entry, { sound: state });
  }

  // No more answers come: what waits will not be answered.
  endSession() {
    for (const entry of this.entries) {
      if (entry.kind === "live" || entry.kind === "waiting")
        this.#change(entry, { kind: "missing", reason: "job_failed" });
    }
  }

  clear() {
    this.entries = [];
    this.#byKey.clear();
    this.#spoken = [];
    this.dispatchEvent(new Event("clear"));
  }

  #entry(index, about) {
    const key = this.#key(index, about);
    let entry = this.#byKey.get(key);
    if (!entry) {
      entry = {
        id: this.#nextId++,
        index,
        kind: "live",
        reason: null,
        speaker: about.speaker ?? null,
        srcLang: about.srcLang,
        tgtLang: about.tgtLang,
        source: "",
        stableChars: 0,
        translation: "",
        isCut: false, // its end could not be translated
        startMs: about.startMs,
        endMs: null,
        lateMs: null,
        timings: null,
        quality: null,
        speech: null,
        sound: "none",
      };
      this.#byKey.set(key, entry);
      this.entries.push(entry);
    }
    return entry;
  }

  #key(index, { sessionId = "" }) {
    return `${this.#session}/${sessionId}/${index}`;
  }

  #keepSpeech(entry) {
    this.#spoken.push(entry);
    if (this.#spoken.length <= SPOKEN_MAX) return;
    const oldest = this.#spoken.shift();
    this.#change(oldest, { speech: null });
  }

  #change(entry, changes) {
    Object.assign(entry, changes);
    this.#emit("change", entry);
  }

  #emit(type, entry) {
    this.dispatchEvent(new CustomEvent(type, { detail: entry }));
  }
}
