// The one stream of pictures: what the fleet looks like now, and its last ten minutes.
//
// Server-sent events, read by `fetch` and not by `EventSource`, which could not bring an operator's token.

import { operatorToken } from "./acts.js";

const ADDRESS = "/api/v1/feed";
const PARTS = new Set(["stats", "cluster", "nodes", "pools", "sessions", "jobs", "models", "metrics"]);
const WINDOW_MS = 600_000;
const AGAIN_MS = 1500;
const SILENCE_MS = 20_000; // the scheduler says something every five seconds
const HIDDEN_MS = 60_000;

export class Feed extends EventTarget {
  tick = null; // null before anything has come
  parts = {};
  samples = [];
  events = [];
  isOpen = false;
  refusal = ""; // why the scheduler does not show anything

  #reading = null; // an AbortController while the stream is read, or wanted
  #timer = 0;
  #tickAt = 0;
  #heardAt = 0;
  #isTelling = false;

  // Watch until the page is closed; while nobody looks at it for long, the stream rests. Emits `change`.
  begin() {
    this.#open();
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.#timer);
      if (document.hidden) this.#timer = setTimeout(() => this.#close(), HIDDEN_MS);
      else if (!this.#reading) this.#open();
    });
    setInterval(() => {
      if (this.isOpen && performance.now() - this.#heardAt > SILENCE_MS) this.restart();
      this.#tell();
    }, 1000);
  }

  // Anew, with the token of now.
  restart() {
    this.#close();
    this.#open();
  }

  // The scheduler's wall clock, whatever this machine's says.
  get nowMs() {
    return this.tick ? this.tick.at_ms + (performance.now() - this.#tickAt) : Date.now();
  }

  // How old the pictures are; null before the first.
  get ageMs() {
    return this.tick ? this.tick.age_ms + (performance.now() - this.#tickAt) : null;
  }

  async #open() {
    const reading = (this.#reading = new AbortController());
    while (!reading.signal.aborted) {
      try {
        await this.#read(reading.signal);
      } catch {
        // away, cut off, or stopped here: it is tried again, or not
      }
      if (reading.signal.aborted) return;
      this.#turn(false);
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }

  #close() {
    this.#reading?.abort();
    this.#reading = null;
    this.#turn(false);
  }

  async #read(signal) {
    const token = operatorToken();
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch(ADDRESS, { headers, signal, cache: "no-store" });
    this.refusal = answer.ok ? "" : ((await answer.json().catch(() => ({}))).error ?? `HTTP ${answer.status}`);
    if (!answer.ok) return;
    this.#heardAt = performance.now();
    this.#turn(true);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      this.#heardAt = performance.now();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) this.#onBlock(block);
    }
  }

  // `event: name` and one line of data.
  #onBlock(block) {
    const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
    if (!name) return;
    const value = JSON.parse(data);
    if (name === "tick") this.#onTick(value);
    else if (name === "samples") this.#onSamples(value);
    else if (name === "events") this.events = value.reverse();
    else if (PARTS.has(name)) this.parts[name] = value;
    this.#tell();
  }

  #onTick(tick) {
    if (this.tick && tick.instance_id !== this.tick.instance_id) this.samples = []; // another's count of samples
    this.tick = tick;
    this.#tickAt = performance.now();
  }

  #onSamples(samples) {
    const known = new Set(this.samples.map(({ seq }) => seq));
    const all = [...this.samples, ...samples.filter(({ seq }) => !known.has(seq))];
    const newest = all.at(-1)?.at_ms ?? 0;
    this.samples = all.filter(({ at_ms }) => at_ms > newest - WINDOW_MS - 5000);
  }

  #turn(isOpen) {
    this.isOpen = isOpen;
    this.#tell();
  }

  // Parts that come together are shown together.
  #tell() {
    if (this.#isTelling) return;
    this.#isTelling = true;
    queueMicrotask(() => {
      this.#isTelling = false;
      this.dispatchEvent(new Event("change"));
    });
  }
}
