// The one stream of pictures: what the fleet looks like now, and its last ten minutes.

const ADDRESS = "/api/v1/feed";
const PARTS = ["stats", "cluster", "nodes", "pools", "sessions", "jobs", "models", "metrics"];
const WINDOW_MS = 600_000;
const AGAIN_MS = 3000;
const HIDDEN_MS = 60_000;

export class Feed extends EventTarget {
  // What is shown before anything has come.
  tick = null;
  parts = {};
  samples = [];
  events = [];
  isOpen = false;

  #source = null;
  #timer = 0;
  #tickAt = 0;

  // Watch until the page is closed; while nobody looks at it for long, the stream rests. Emits `change`.
  begin() {
    this.#open();
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.#timer);
      if (!document.hidden) this.#source || this.#open();
      else this.#timer = setTimeout(() => this.#close(), HIDDEN_MS);
    });
    setInterval(() => this.#tell(), 1000);
  }

  // The scheduler's wall clock, whatever this machine's says.
  get nowMs() {
    return this.tick ? this.tick.at_ms + (performance.now() - this.#tickAt) : Date.now();
  }

  // How old the pictures are; null before the first.
  get ageMs() {
    return this.tick ? this.tick.age_ms + (performance.now() - this.#tickAt) : null;
  }

  #open() {
    const source = (this.#source = new EventSource(ADDRESS));
    source.addEventListener("open", () => this.#turn(true));
    source.addEventListener("error", () => {
      this.#turn(false);
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      this.#close();
      this.#timer = setTimeout(() => this.#open(), AGAIN_MS);
    });
    source.addEventListener("tick", ({ data }) => this.#onTick(JSON.parse(data)));
    source.addEventListener("samples", ({ data }) => this.#onSamples(JSON.parse(data)));
    source.addEventListener("events", ({ data }) => this.#set(() => (this.events = JSON.parse(data).reverse())));
    for (const name of PARTS) {
      source.addEventListener(name, ({ data }) => this.#set(() => (this.parts[name] = JSON.parse(data))));
    }
  }

  #close() {
    this.#source?.close();
    this.#source = null;
    this.#turn(false);
  }

  #turn(isOpen) {
    this.isOpen = isOpen;
    this.#tell();
  }

  #onTick(tick) {
    if (this.tick && tick.instance_id !== this.tick.instance_id) this.samples = []; // another's count of samples
    this.tick = tick;
    this.#tickAt = performance.now();
    this.#tell();
  }

  #onSamples(samples) {
    const known = new Set(this.samples.map(({ seq }) => seq));
    const all = [...this.samples, ...samples.filter(({ seq }) => !known.has(seq))];
    const newest = all.at(-1)?.at_ms ?? 0;
    this.#set(() => (this.samples = all.filter(({ at_ms }) => at_ms > newest - WINDOW_MS - 5000)));
  }

  #set(change) {
    change();
    this.#tell();
  }

  // Parts that come together are shown together.
  #tell() {
    if (this.told) return;
    this.told = true;
    queueMicrotask(() => {
      this.told = false;
      this.dispatchEvent(new Event("change"));
    });
  }
}
