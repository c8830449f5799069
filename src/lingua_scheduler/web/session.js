// One conversation with the scheduler over its WebSocket (docs/protocol.md, version 1.1). Emits what arrives as events:
// `open`, `partial`, `result`, `missing`, `trouble` (something went wrong, the session goes on) and `end` (it is over;
// `detail.message` says why where that was not asked for).

const VERSION = "1.1";
const AUDIO = 1;
const FINAL = 2;
const PING = 0x10;
const PONG = 0x11;
const OPEN_TIMEOUT_MS = 10000;
const CLOSE_TIMEOUT_MS = 30000;
const HEARTBEAT_MS = 15000;
const UNSENT_MAX = 3000; // frames that wait during a pause: a minute; past it the session ends, loudly

export class Session extends EventTarget {
  #socket;
  #timers = new Set();
  #id = "";
  #idBytes = new Uint8Array();
  #seq = 0;
  #unsent = [];
  #pausedUntil = 0;
  #isClosing = false;
  #isCloseSent = false;
  #isOver = false;
  #ack = null;

  constructor(from, to) {
    super();
    const url = new URL("/ws/session", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.#socket = new WebSocket(url);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => this.#sayHello(from, to);
    this.#socket.onmessage = ({ data }) => this.#onFrame(data);
    this.#socket.onclose = () => this.#end("The connection to the scheduler was lost.");
    this.#after(OPEN_TIMEOUT_MS, () => this.#ack || this.#end("The scheduler did not answer in time."));
  }

  get isOpen() {
    return this.#ack !== null && !this.#isOver;
  }

  // `samples` is an Int16Array of 16 kHz; an empty one with `isFinal` ends the utterance.
  send(samples, isFinal = false) {
    if (this.#isOver || this.#isClosing) return;
    this.#unsent.push({ audio: new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength), isFinal });
    if (this.#unsent.length > UNSENT_MAX) this.#end("The scheduler has taken no speech for a minute.");
    this.#flush();
  }

  // Say that no more comes; `end` follows when everything has been answered.
  finish() {
    this.#isClosing = true;
    this.#flush();
    this.#after(CLOSE_TIMEOUT_MS, () => this.#end("The scheduler did not finish in time."));
  }

  ttsStarted(result) {
    this.#tellPlayback("tts_started", "ts_start_ms", result);
  }

  ttsEnded(result) {
    this.#tellPlayback("tts_play_ended", "ts_end_ms", result);
  }

  #tellPlayback(type, stamp, { trace_id, group_id }) {
    if (this.isOpen && group_id) this.#say({ type, session_id: this.#id, trace_id, group_id, [stamp]: Date.now() });
  }

  #sayHello(from, to) {
    this.#say({
      type: "session_init",
      client_version: "lingua-web/0.1",
      platform: "web",
      src_lang: from,
      tgt_lang: to,
      protocol_version: VERSION,
      audio_format: "pcm16",
      sample_rate: 16000,
      binary: true,
      enable_streaming_asr: true,
    });
  }

  #onFrame(data) {
    if (data instanceof ArrayBuffer) {
      this.#onPing(data);
      return;
    }
    const message = JSON.parse(data);
    switch (message.type) {
      case "session_init_ack":
        this.#onOpen(message);
        break;
      case "asr_partial":
        this.#emit("partial", message);
        break;
      case "translation_result":
      case "missing_result":
        if (message.result_seq) {
          this.#say({ type: "result_ack", session_id: this.#id, result_seq: message.result_seq });
        }
        this.#emit(message.type === "missing_result" ? "missing" : "result", message);
        break;
      case "backpressure":
        this.#pausedUntil = performance.now() + message.resume_after_ms;
        this.#after(message.resume_after_ms + 1, () => this.#flush());
        break;
      case "error":
        this.#onError(message);
        break;
      case "ui_event":
        if (message.status === "error" && message.hint) this.#emit("trouble", { message: message.hint });
        break;
      case "goaway":
        this.#emit("trouble", { message: "The scheduler is about to restart." });
        break;
      case "session_close_ack":
        this.#end(this.#isClosing ? "" : "The scheduler closed the session.");
        break;
      default: // what newer schedulers say beyond this is for newer pages
    }
  }

  #onOpen(ack) {
    this.#ack = ack;
    this.#id = ack.session_id;
    this.#idBytes = new TextEncoder().encode(ack.session_id);
    const beat = () => {
      this.#say({ type: "client_heartbeat", session_id: this.#id, timestamp: Date.now() });
      this.#after(ack.heartbeat_interval_ms ?? HEARTBEAT_MS, beat);
    };
    this.#after(ack.heartbeat_interval_ms ?? HEARTBEAT_MS, beat);
    this.#emit("open", ack);
    this.#flush();
  }

  #onError({ code, message }) {
    const isFatal = !this.#ack || ["SESSION_CLOSED", "INVALID_SESSION", "UNAUTHORIZED", "INTERNAL_ERROR"].includes(code);
    if (isFatal) this.#end(message);
    else this.#emit("trouble", { message });
  }

  #onPing(data) {
    const view = new DataView(data);
    if (view.getUint8(0) !== PING) return;
    const pong = data.slice();
    new DataView(pong).setUint8(0, PONG);
    this.#socket.send(pong);
  }

  #flush() {
    if (!this.isOpen || performance.now() < this.#pausedUntil) return;
    for (const { audio, isFinal } of this.#unsent.splice(0)) {
      this.#socket.send(this.#chunk(audio, isFinal));
    }
    if (this.#isClosing && !this.#isCloseSent) {
      this.#isCloseSent = true;
      this.#say({ type: "session_close", session_id: this.#id, reason: "finished" });
    }
  }

  #chunk(audio, isFinal) {
    const isEmptyFinal = isFinal && audio.length === 0;
    const head = isEmptyFinal ? 10 : 12;
    const frame = new Uint8Array(head + this.#idBytes.length + audio.length);
    const view = new DataView(frame.buffer);
    view.setUint8(0, isEmptyFinal ? FINAL : AUDIO);
    view.setUint8(1, this.#idBytes.length);
    view.setUint32(2, this.#seq++, true);
    view.setUint32(6, Date.now() % 2 ** 32, true);
    if (!isEmptyFinal) view.setUint8(10, Number(isFinal));
    frame.set(this.#idBytes, head);
    frame.set(audio, head + this.#idBytes.length);
    return frame;
  }

  #say(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #end(message) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#timers.forEach((timer) => clearTimeout(timer));
    this.#socket.close();
    this.#emit("end", { message });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #after(ms, work) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (!this.#isOver) work();
    }, ms);
    this.#timers.add(timer);
  }
}
