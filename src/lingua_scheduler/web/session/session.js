// The shell around the session machine: one WebSocket at a time, one timer, and the browser's word on the network.
// Emits `open{ack}`, `away{reason}`, `back{replayed}`, `message` (whatever the scheduler says), `room` (the ring takes
// audio again) and, last, `end{error}`.

import { decodeFrame, encodeChunk, encodePong } from "./frames.js";
import { SessionMachine } from "./machine.js";

export const VERSION = "1.1";

export class Session extends EventTarget {
  #machine;
  #socket = null;
  #timer = 0;
  #watch = new AbortController();
  #events = []; // what happens while effects are performed waits for them
  #isBusy = false;

  // `init` is a `session_init` without its type and version.
  constructor(init) {
    super();
    const epochMs = Date.now() - Math.floor(performance.now());
    this.#machine = new SessionMachine({ type: "session_init", protocol_version: VERSION, ...init }, { epochMs });
    const { signal } = this.#watch;
    window.addEventListener("offline", () => this.#happen({ type: "networkLost" }), { signal });
    window.addEventListener("online", () => this.#happen({ type: "networkBack" }), { signal });
    window.addEventListener("pagehide", (event) => event.persisted || this.#happen({ type: "abandoned" }), { signal });
  }

  start() {
    this.#happen({ type: "started" });
  }

  get id() {
    return this.#machine.ack?.session_id ?? "";
  }

  get isLive() {
    return this.#machine.phase === "live";
  }

  get isOver() {
    return this.#machine.phase === "ended";
  }

  get hasRoom() {
    return this.#machine.hasRoom;
  }

  get unconcluded() {
    return this.#machine.unconcluded;
  }

  // Audio as it goes on the wire (Uint8Array), empty only with `isFinal`. Look at `hasRoom` first.
  speak(audio, isFinal = false) {
    this.#happen({ type: "audioSpoken", audio, isFinal });
  }

  // Any message of a client; `session_id` is filled in. Forgotten where there is no connection.
  say(message) {
    this.#happen({ type: "said", message });
  }

  // No more audio comes: `end` follows when everything has been answered.
  finish() {
    this.#happen({ type: "finishRequested" });
  }

  // Nothing is waited for.
  abandon() {
    this.#happen({ type: "abandoned" });
  }

  #happen(event) {
    this.#events.push(event);
    if (this.#isBusy) return;
    this.#isBusy = true;
    while (this.#events.length > 0) {
      const effects = this.#machine.handle(this.#events.shift(), Math.floor(performance.now()));
      for (const effect of effects) this.#perform(effect);
    }
    this.#isBusy = false;
    this.#setTimer();
  }

  #perform(effect) {
    switch (effect.do) {
      case "dial":
        this.#dial();
        break;
      case "hangUp":
        this.#hangUp();
        break;
      case "send":
        this.#write(JSON.stringify(effect.message));
        break;
      case "sendAudio":
        this.#write(encodeChunk(effect.chunk, this.id, this.#machine.ack.use_binary_frame));
        break;
      case "sendPong":
        this.#write(encodePong(effect.ping));
        break;
      case "tell":
        this.#emit(effect.what, effect.message ?? effect);
        break;
      case "makeRoom":
        this.#emit("room");
        break;
      case "end":
        this.#watch.abort();
        this.#emit("end", effect.error);
        break;
      default:
        throw new Error(`unknown effect ${effect.do}`);
    }
  }

  #dial() {
    const url = new URL("/ws/session", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    const ifCurrent = (work) => (event) => socket === this.#socket && work(event);
    socket.onopen = ifCurrent(() => this.#happen({ type: "socketOpened" }));
    socket.onmessage = ifCurrent(({ data }) => {
      const message = decodeFrame(data);
      if (message) this.#happen({ type: "messageArrived", message });
    });
    socket.onclose = ifCurrent(() => {
      this.#socket = null;
      this.#happen({ type: "socketLost", reason: "the connection was lost" });
    });
  }

  #hangUp() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }

  // Without an open socket it goes nowhere: `socketLost` is on its way.
  #write(data) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(data);
  }

  #setTimer() {
    clearTimeout(this.#timer);
    const at = this.#machine.nextDeadlineMs();
    if (at === null) return;
    this.#timer = setTimeout(() => this.#happen({ type: "timeReached" }), Math.max(1, at - performance.now() + 1));
  }

  #emit(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
