// A session from its first socket to its last answer, as a pure machine: no socket, no clock, no page in it.
//
// Theory of operation. `handle(event, nowMs)` returns effects, to be performed in order; `nextDeadlineMs()` says when
// the event `timeReached` is due. The rules are those of the Python client's `machine.py`, and a test runs both in lock
// step.
//
// | phase      | means                            | ends by                                                          |
// |------------|----------------------------------|------------------------------------------------------------------|
// | idle       | nothing has happened             | `started`                                                        |
// | dialling   | the first socket is being opened | opened; refused or late: the session fails                       |
// | opening    | `session_init` is sent           | its ack; an error, a lost socket or silence: the session fails   |
// | live       | audio and results flow           | lost socket, silence, `goaway`, no network → away; close → ended |
// | away       | no socket; the next try waits    | its back-off → redialling; the end of the resume window: it fails|
// | redialling | another socket is being opened   | opened → resuming; lost or late → away                           |
// | resuming   | `session_resume` is sent         | its ack → live; session unknown: it fails; anything else → away  |
// | ended      | `end` was given                  | never                                                            |
//
// Audio is taken in every phase and waits in the ring. It is sent while live, except during the scheduler's
// `backpressure`, and stays until `audio_ack`. A scheduler that gave no resume token never acknowledges: there the ring
// only holds what is not sent, and a lost socket ends the session. Results carry `result_seq`; a repeat is dropped
// here, so that the page hears each once. `finishRequested` is remembered until all audio is sent; then, and again
// after each resume, `session_close` goes out. A connection in which nothing arrives for 2½ heartbeats is dead.
//
// Beyond the Python client the browser tells `networkLost` (hang up at once, the socket would only time out) and
// `networkBack` (try at once, whatever the back-off says).
//
// Events: started · socketOpened · socketLost{reason} · messageArrived{message} · audioSpoken{audio, isFinal} ·
// said{message} (sent while live, else forgotten) · finishRequested · abandoned · networkLost · networkBack ·
// timeReached
// Effects: dial · hangUp · send{message} · sendAudio{chunk} · sendPong{ping} · tell{what, …} · makeRoom · end{error}

import { Ring } from "./ring.js";

const DEAD_AFTER = 2.5;
const ANSWERED_TOLD = 64;
const FATAL = new Set(["SESSION_CLOSED", "INVALID_SESSION", "UNAUTHORIZED", "INTERNAL_ERROR"]);
const WAITING = new Set(["dialling", "opening", "away", "redialling", "resuming"]);

export const LIMITS = Object.freeze({
  ringBytesMax: 4 << 20, // two minutes of PCM16: the scheduler keeps no more of a session
  openTimeoutMs: 10_000,
  redialTimeoutMs: 5_000,
  closeTimeoutMs: 30_000,
  heartbeatMs: 15_000, // where the scheduler names none
  resumeWindowMs: 60_000, // where the scheduler names none
  firstRetryMs: 250,
  longestRetryMs: 5_000,
});

export class SessionMachine {
  phase = "idle";
  ack = null; // the scheduler's answer; null until the session is open
  #init;
  #limits;
  #random;
  #ring;
  #effects = [];
  #resumeToken = "";
  #lastResultSeq = 0;
  #memo = ""; // what the scheduler wants to be told should this session go on elsewhere
  #answered = []; // the newest utterances whose result was had: the scheduler may have lost them, where Redis did
  #isFinishing = false;
  #isCloseSent = false;
  #retryBoundMs;
  #heardMs = 0;
  #phaseUntilMs = null;
  #windowUntilMs = null;
  #pausedUntilMs = null;
  #heartbeatAtMs = null;
  #closeUntilMs = null;
  #epochMs;

  // `init` is the `session_init`; `random()` is in [0, 1); `epochMs` is the wall time of `nowMs` 0.
  constructor(init, { limits = LIMITS, random = Math.random, epochMs = 0 } = {}) {
    this.#init = init;
    this.#limits = limits;
    this.#random = random;
    this.#epochMs = epochMs;
    this.#ring = new Ring(limits.ringBytesMax);
    this.#retryBoundMs = limits.firstRetryMs;
  }

  get hasRoom() {
    return this.#ring.hasRoom;
  }

  // Chunks whose answer is not there yet.
  get unconcluded() {
    return this.#ring.length;
  }

  handle(event, nowMs) {
    if (this.phase === "ended") return [];
    const wasFull = !this.#ring.hasRoom;
    this.#effects = [];
    this.#take(event, nowMs);
    if (this.phase === "live") this.#flush(nowMs);
    if (wasFull && this.#ring.hasRoom) this.#do("makeRoom");
    return this.#effects;
  }

  nextDeadlineMs() {
    const deadlines = [this.#phaseUntilMs];
    if (this.phase === "live") {
      deadlines.push(this.#pausedUntilMs, this.#heartbeatAtMs, this.#deadAtMs, this.#closeUntilMs);
    } else if (["away", "redialling", "resuming"].includes(this.phase)) {
      deadlines.push(this.#windowUntilMs);
    }
    const set = deadlines.filter((at) => at !== null);
    return set.length > 0 ? Math.min(...set) : null;
  }

  // Throws where an invariant is broken.
  check() {
    const holds = [
      [(this.#phaseUntilMs !== null) === WAITING.has(this.phase), "a phase that waits has an end"],
      [!this.#isCloseSent || this.#isFinishing, "closed because it was asked for"],
      [this.phase !== "live" || this.#pausedUntilMs !== null || !this.#ring.hasUnsent, "what can be sent is sent"],
    ];
    for (const [isTrue, what] of holds) if (!isTrue) throw new Error(`${this.phase}: ${what}`);
  }

  #take(event, nowMs) {
    switch (event.type) {
      case "started":
        this.#enter("dialling", nowMs + this.#limits.openTimeoutMs);
        this.#do("dial");
        break;
      case "socketOpened":
        this.#onSocketOpened(nowMs);
        break;
      case "socketLost":
        this.#onSocketLost(event.reason, nowMs);
        break;
      case "messageArrived":
        this.#heardMs = nowMs;
        this.#onMessage(event.message, nowMs);
        break;
      case "audioSpoken":
        this.#ring.add(event.audio, event.isFinal, this.#epochMs + nowMs);
        break;
      case "said":
        if (this.phase === "live") this.#send({ session_id: this.ack.session_id, ...event.message });
        break;
      case "finishRequested":
        this.#isFinishing = true;
        break;
      case "abandoned":
        if (this.phase === "live" && !this.#isCloseSent) this.#sayClose("client is gone");
        this.#end(null);
        break;
      case "networkLost":
        if (this.phase === "live" && this.#resumeToken) this.#hangUpAndGoAway("the network is gone", nowMs);
        break;
      case "networkBack":
        if (this.phase === "away") this.#redial(nowMs);
        break;
      case "timeReached":
        this.#onTimeReached(nowMs);
        break;
      default:
        throw new Error(`unknown event ${event.type}`);
    }
  }

  // ------------------------------------------------------------------------------------ connection

  #onSocketOpened(nowMs) {
    if (this.phase === "dialling") {
      this.#enter("opening", nowMs + this.#limits.openTimeoutMs);
      this.#send(this.#init);
    } else if (this.phase === "redialling") {
      this.#enter("resuming", nowMs + this.#limits.redialTimeoutMs);
      this.#send({
        type: "session_resume",
        session_id: this.ack.session_id,
        resume_token: this.#resumeToken,
        last_result_seq: this.#lastResultSeq,
        acked_seq: this.#ring.ackedSeq,
        answered: [...this.#answered],
        memo: this.#memo,
        ...(this.#init.token && { token: this.#init.token }),
      });
    }
  }

  #onSocketLost(reason, nowMs) {
    if (this.ack === null || !this.#resumeToken) this.#end({ code: "WS_DISCONNECTED", message: reason });
    else this.#goAway(reason, nowMs);
  }

  #goAway(reason, nowMs) {
    if (this.phase === "live") {
      this.#tell("away", { reason });
      this.#retryBoundMs = this.#limits.firstRetryMs;
      this.#windowUntilMs = nowMs + this.#resumeWindowMs;
      this.#pausedUntilMs = null;
    }
    const bound = this.#retryBoundMs;
    const least = Math.floor(bound / 2);
    this.#retryBoundMs = Math.min(2 * bound, this.#limits.longestRetryMs);
    this.#enter("away", nowMs + least + Math.floor(this.#random() * (bound - least + 1)));
  }

  #hangUpAndGoAway(reason, nowMs) {
    this.#do("hangUp");
    this.#onSocketLost(reason, nowMs);
  }

  #redial(nowMs) {
    this.#enter("redialling", nowMs + this.#limits.redialTimeoutMs);
    this.#do("dial");
  }

  #goLive(nowMs) {
    this.#enter("live", null);
    this.#windowUntilMs = null;
    this.#heardMs = nowMs;
    this.#heartbeatAtMs = nowMs + this.#heartbeatMs;
  }

  #end(error) {
    this.#do("hangUp");
    this.#enter("ended", null);
    this.#do("end", { error });
  }

  #enter(phase, untilMs) {
    this.phase = phase;
    this.#phaseUntilMs = untilMs;
  }

  // ------------------------------------------------------------------------------------ messages

  #onMessage(message, nowMs) {
    if (message.type === "error") this.#onError(message, nowMs);
    else if (message.type === "session_init_ack") this.#onInitAck(message, nowMs);
    else if (message.type === "session_resume_ack") this.#onResumeAck(message, nowMs);
    else if (this.phase === "live") this.#onLiveMessage(message, nowMs);
    // Nothing else can mean anything before the session is bound to this connection.
  }

  #onLiveMessage(message, nowMs) {
    switch (message.type) {
      case "translation_result":
      case "missing_result":
        this.#onResult(message);
        break;
      case "audio_ack":
        this.#ring.acknowledge(message.seq);
        break;
      case "backpressure":
        this.#pausedUntilMs = nowMs + Math.max(0, message.resume_after_ms);
        this.#tell("message", { message });
        break;
      case "server_heartbeat":
        break;
      case "ping":
        this.#do("sendPong", { ping: message });
        break;
      case "session_close_ack":
        this.#end(this.#isCloseSent ? null : { code: "SESSION_CLOSED", message: "the scheduler closed the session" });
        break;
      case "goaway":
        this.#tell("message", { message });
        this.#hangUpAndGoAway(`the scheduler is leaving (${message.reason})`, nowMs);
        break;
      default:
        this.#tell("message", { message });
    }
  }

  #onInitAck(ack, nowMs) {
    if (this.phase !== "opening") return;
    this.ack = ack;
    this.#resumeToken = ack.resume_token ?? "";
    this.#goLive(nowMs);
    this.#tell("open", { ack });
  }

  #onResumeAck(ack, nowMs) {
    if (this.phase !== "resuming") return;
    this.#resumeToken = ack.resume_token;
    this.#ring.rewind(ack.next_seq);
    this.#isCloseSent = false;
    this.#closeUntilMs = null;
    this.#goLive(nowMs);
    this.#tell("back", { replayed: ack.replayed });
  }

  #onResult(result) {
    const seq = result.result_seq ?? null;
    if (seq !== null) {
      const isRepeat = seq <= this.#lastResultSeq;
      this.#lastResultSeq = Math.max(this.#lastResultSeq, seq);
      this.#send({ type: "result_ack", session_id: this.ack.session_id, result_seq: this.#lastResultSeq });
      if (isRepeat) return;
      this.#memo = result.memo ?? "";
      if (result.session_id === this.ack.session_id) this.#answered.push(result.utterance_index);
      if (this.#answered.length > ANSWERED_TOLD) this.#answered.shift();
    }
    this.#tell("message", { message: result });
  }

  #onError({ code, message, details }, nowMs) {
    if (this.phase === "opening" || FATAL.has(code)) this.#end({ code, message });
    else if (this.phase === "resuming") this.#hangUpAndGoAway(message, nowMs);
    else this.#tell("message", { message: { type: "error", code, message, details } });
  }

  // ------------------------------------------------------------------------------------ audio

  #flush(nowMs) {
    if (this.#pausedUntilMs !== null) return;
    for (let chunk = this.#ring.take(); chunk !== null; chunk = this.#ring.take()) {
      this.#do("sendAudio", { chunk });
      if (!this.#resumeToken) this.#ring.acknowledge(chunk.seq);
    }
    if (this.#isFinishing && !this.#isCloseSent) {
      this.#isCloseSent = true;
      this.#closeUntilMs = nowMs + this.#limits.closeTimeoutMs;
      this.#sayClose("finished");
    }
  }

  // ------------------------------------------------------------------------------------ time

  #onTimeReached(nowMs) {
    const isDue = (at) => at !== null && at <= nowMs;
    if (this.phase === "dialling" || this.phase === "opening") {
      if (isDue(this.#phaseUntilMs))
        this.#end({ code: "WS_DISCONNECTED", message: "the scheduler did not answer in time" });
    } else if (this.phase === "live") {
      this.#onTimeReachedLive(isDue, nowMs);
    } else if (isDue(this.#windowUntilMs)) {
      this.#end({ code: "WS_DISCONNECTED", message: "the scheduler could not be reached" });
    } else if (isDue(this.#phaseUntilMs)) {
      if (this.phase === "away") this.#redial(nowMs);
      else this.#hangUpAndGoAway("the scheduler did not answer in time", nowMs);
    }
  }

  #onTimeReachedLive(isDue, nowMs) {
    if (isDue(this.#pausedUntilMs)) this.#pausedUntilMs = null;
    if (isDue(this.#closeUntilMs)) {
      this.#end({ code: "JOB_TIMEOUT", message: "the scheduler did not finish in time" });
    } else if (isDue(this.#deadAtMs)) {
      this.#hangUpAndGoAway("the scheduler fell silent", nowMs);
    } else if (isDue(this.#heartbeatAtMs)) {
      this.#heartbeatAtMs = nowMs + this.#heartbeatMs;
      this.#send({ type: "client_heartbeat", session_id: this.ack.session_id, timestamp: this.#epochMs + nowMs });
    }
  }

  // ------------------------------------------------------------------------------------ small things

  get #heartbeatMs() {
    return this.ack?.heartbeat_interval_ms || this.#limits.heartbeatMs;
  }

  get #resumeWindowMs() {
    return this.ack?.resume_window_ms || this.#limits.resumeWindowMs;
  }

  get #deadAtMs() {
    return this.#heardMs + Math.floor(DEAD_AFTER * this.#heartbeatMs);
  }

  #sayClose(reason) {
    this.#send({ type: "session_close", session_id: this.ack.session_id, reason });
  }

  #send(message) {
    this.#do("send", { message });
  }

  #tell(what, rest) {
    this.#do("tell", { what, ...rest });
  }

  #do(kind, rest = {}) {
    this.#effects.push({ do: kind, ...rest });
  }
}
