// One session with the scheduler: what feeds it (a microphone or a file), what comes back (the transcript and its
// sound).
//
// Theory of operation. The session and its input are apart: sound is collected from the moment the microphone is open,
// whether or not there is a connection, and waits in the session's ring. `state` is what the page shows:
//
// | state      | means                                              | leaves by                                    |
// |------------|----------------------------------------------------|----------------------------------------------|
// | connecting | the microphone or the scheduler is asked           | both have answered; trouble: failed          |
// | listening  | sound is heard, no speech in it                    | speech, `pause`, `stop`                      |
// | hearing    | somebody speaks                                    | a pause of half a second, `sendNow`, `stop`  |
// | paused     | the microphone is open but silenced                | `pause` again, `stop`                        |
// | file       | a file is being sent                               | its end, `stop`                              |
// | finishing  | no more sound comes, the last answers are awaited  | the session's end                            |
// | away       | reconnecting; speech goes on being collected       | the session's machine                        |
// | idle       | over, all is answered                              | never                                        |
// | failed     | over before that                                   | never                                        |
//
// Bound: where the ring is full (two minutes of speech that nobody takes) the microphone is paused, and that is told.

import { Session } from "./session/session.js";
import { readSound, speakFile } from "./sound/file.js";
import { FRAME_MS, loudness } from "./sound/gate.js";
import { Recorder } from "./sound/recorder.js";
import { Speaker } from "./sound/speaker.js";

const LOUD = 4000; // the loudness that fills the level meter
const PARTIALS_MS = 300;

// `plan`: {mode, from, to, hear, format, processing, deviceId, token, platform}. Emits `change`, `level{value}`,
// `notice{key, values, tone}`, `latency{ms}`, `message` (those of rooms) and, last, `end{error}`.
export class Talk extends EventTarget {
  session;
  recorder = new Recorder();
  memberName = () => null; // rooms know who speaks,
  isForOthers = () => false; // and whether anybody else is there to be translated for
  #plan;
  #transcript;
  #player;
  #speaker;
  #input = "none"; // "microphone", "file"
  #isOpen = false;
  #isAway = false;
  #isPaused = false;
  #isFinishing = false;
  #outcome = null; // "idle", "failed"
  #progress = 0;
  #stopFile = new AbortController();

  constructor(plan, transcript, player) {
    super();
    this.#plan = plan;
    this.#transcript = transcript;
    this.#player = player;
    this.session = new Session(sessionInit(plan));
    this.#speaker = new Speaker(this.session, plan.format, {
      onActivity: () => this.#changed(),
      onError: () => this.#fail("trouble.encoder"),
    });
    transcript.beginSession();
    this.#listenTo(this.session);
  }

  get state() {
    if (this.#outcome) return this.#outcome;
    if (!this.#isOpen) return "connecting";
    if (this.#isAway) return "away";
    if (this.#isFinishing) return "finishing";
    if (this.#input === "file") return "file";
    if (this.#isPaused || this.#input === "none") return "paused";
    return this.#speaker.isSpeaking ? "hearing" : "listening";
  }

  get isListening() {
    return this.#input === "microphone" && !this.#isPaused && !this.#isFinishing;
  }

  get hasMicrophone() {
    return this.#input === "microphone";
  }

  get isTakingSound() {
    return this.#input !== "none" && !this.#isFinishing && this.#outcome === null;
  }

  get percent() {
    return Math.round(100 * this.#progress);
  }

  open() {
    this.session.start();
  }

  // Listen to the microphone from now on. Throws MicrophoneTrouble.
  async listen() {
    await this.recorder.open({ processing: this.#plan.processing, deviceId: this.#plan.deviceId });
    if (this.#outcome) {
      await this.recorder.stop();
      return;
    }
    this.#speaker.begin(this.#transcript.clockMs());
    await this.recorder.listen({
      onFrame: (frame) => this.#onFrame(frame),
      onEnded: () => this.#onUnplugged(),
    });
    this.#input = "microphone";
    this.#changed();
  }

  // What was said into the old one is sent. Throws MicrophoneTrouble.
  async changeMicrophone(deviceId) {
    if (!this.isTakingSound || this.#input !== "microphone") return;
    this.#plan.deviceId = deviceId;
    this.#speaker.sendNow();
    await this.recorder.stop();
    await this.listen();
    this.recorder.isMuted = this.#isPaused;
  }

  // Send a file, then finish. Throws FileTrouble.
  async sendFile(file) {
    const samples = await readSound(file);
    this.#input = "file";
    this.#changed();
    this.#speaker.begin(this.#transcript.isEmpty ? 0 : this.#transcript.clockMs());
    await speakFile(samples, this.#speaker, this.session, {
      signal: this.#stopFile.signal,
      onProgress: (share) => {
        this.#progress = share;
        this.#changed();
      },
    });
    await this.stop();
  }

  // Silence the microphone or let it hear again; what was said before is sent.
  pause(isPaused = !this.#isPaused) {
    if (this.#input !== "microphone" || this.#isFinishing || isPaused === this.#isPaused) return;
    this.#isPaused = isPaused;
    this.recorder.isMuted = isPaused;
    if (isPaused) this.#speaker.sendNow();
    else this.#speaker.begin(this.#transcript.clockMs());
    this.#level(0);
    this.#changed();
  }

  // What is being said ends here and is translated at once.
  sendNow() {
    if (this.isListening) this.#speaker.sendNow();
  }

  // No more sound; what was said is still answered.
  async stop() {
    if (this.#isFinishing || this.#outcome) return;
    this.#isFinishing = true;
    this.#stopFile.abort();
    this.#changed();
    await this.recorder.stop();
    this.#level(0);
    await this.#speaker.end();
    this.session.finish();
  }

  // It never came to anything.
  async abandon() {
    this.#isFinishing = true;
    await this.recorder.stop();
    this.session.abandon();
  }

  // Play an entry's translation, after those that wait or at once.
  play(entry, { isReplay = false } = {}) {
    const onState = (state) => this.#onSound(entry, state);
    if (isReplay) this.#player.replay(entry.speech, onState);
    else this.#player.enqueue(entry.speech, onState);
  }

  #onSound(entry, state) {
    this.#transcript.sound(entry, state);
    const { trace_id, group_id } = entry.speech ?? {};
    if (!group_id || this.session.isOver) return;
    if (state === "playing") this.session.say({ type: "tts_started", trace_id, group_id, ts_start_ms: Date.now() });
    if (state === "played") this.session.say({ type: "tts_play_ended", trace_id, group_id, ts_end_ms: Date.now() });
  }

  #onFrame(frame) {
    if (this.#isPaused || this.#isFinishing) return;
    if (!this.session.hasRoom) {
      this.pause(true);
      this.#notice("trouble.full", {}, "warning");
      return;
    }
    this.#level(Math.min(1, Math.sqrt(loudness(frame) / LOUD)));
    this.#speaker.feed(frame);
  }

  #onUnplugged() {
    this.#notice("trouble.unplugged", {}, "warning");
    this.stop();
  }

  // ------------------------------------------------------------------------------------ the session

  #listenTo(session) {
    const on = (type, work) => session.addEventListener(type, ({ detail }) => work(detail));
    on("open", ({ ack }) => this.#onOpen(ack));
    on("away", () => this.#onAway(true));
    on("back", () => this.#onAway(false));
    on("message", (message) => this.#onMessage(message));
    on("end", (error) => this.#onEnd(error));
  }

  #onOpen(ack) {
    this.#isOpen = true;
    if (/warning/i.test(ack.message) && this.#plan.mode !== "room") {
      this.#notice("trouble.noPair", { from: this.#plan.from, to: this.#plan.to }, "warning");
    }
    this.#changed();
    this.dispatchEvent(new Event("open"));
  }

  #onAway(isAway) {
    this.#isAway = isAway;
    this.#notice(isAway ? "trouble.reconnecting" : "trouble.back", {}, isAway ? "warning" : "good");
    this.#changed();
  }

  #onMessage(message) {
    switch (message.type) {
      case "asr_partial":
        this.#transcript.partial(message, this.#about(message));
        break;
      case "ui_event":
        if (message.event === "INPUT_STARTED") this.#transcript.started(message.utterance_index, this.#about(message));
        if (message.event === "INPUT_ENDED") this.#onInputEnded(message);
        break;
      case "translation_result":
        this.#onResult(message);
        break;
      case "missing_result":
        this.#transcript.missing(message, this.#about(message));
        break;
      case "backpressure":
        this.#notice("trouble.pressure", {}, "passing");
        break;
      case "goaway":
        this.#notice("trouble.leaving", {}, "passing");
        break;
      case "error":
        this.#notice(`error.${message.code}`, { message: message.message }, "warning");
        break;
      default:
        this.#emit("message", message); // rooms; what newer schedulers say beyond them is for newer pages
    }
  }

  #onInputEnded(message) {
    this.#transcript.ended(message.utterance_index, this.#about(message), this.isForOthers());
  }

  #onResult(result) {
    const isOwn = result.session_id === this.session.id;
    const { timeline } = this.#speaker;
    const [start, end] = [result.speech_start_ms, result.speech_end_ms];
    const isPlaced = isOwn && start !== undefined && end !== undefined;
    const extra = {
      startMs: isPlaced ? timeline.spokenAt(start) : this.#transcript.clockMs(),
      endMs: isPlaced ? timeline.spokenAt(Math.max(start, end - FRAME_MS)) + FRAME_MS : null,
      lateMs: isPlaced && this.#input !== "file" ? timeline.lateMs(end) : null,
    };
    const entry = this.#transcript.result(result, this.#about(result), extra);
    if (extra.lateMs !== null) this.#emit("latency", { ms: extra.lateMs });
    if (entry.speech && this.#plan.isAloud()) this.play(entry);
  }

  // Whose utterance a message is about, and in which languages.
  #about({ session_id, src_lang, tgt_lang }) {
    const isOwn = !session_id || session_id === this.session.id;
    return {
      sessionId: isOwn ? "" : session_id,
      speaker: this.memberName(session_id || this.session.id),
      srcLang: src_lang ?? (isOwn ? this.#plan.from : ""),
      tgtLang: tgt_lang ?? this.#plan.to,
      startMs: this.#transcript.clockMs(),
    };
  }

  async #onEnd(error) {
    this.#outcome = error ? "failed" : "idle";
    this.#stopFile.abort();
    await this.recorder.stop();
    this.#level(0);
    this.#transcript.endSession();
    if (error) this.#notice(`error.${error.code}`, { message: error.message }, "error");
    this.#changed();
    this.#emit("end", { error });
  }

  #fail(key) {
    this.#notice(key, {}, "error");
    this.abandon();
  }

  #level(value) {
    this.#emit("level", { value });
  }

  #notice(key, values, tone) {
    this.#emit("notice", { key, values, tone });
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function sessionInit({ mode, from, to, format, platform, token }) {
  const shared = {
    client_version: "lingua-web/1",
    platform,
    tgt_lang: to,
    audio_format: format,
    sample_rate: 16_000,
    binary: true,
    enable_streaming_asr: true,
    partial_update_interval_ms: PARTIALS_MS,
    ...(token && { token }),
  };
  if (mode !== "two_way_auto") return { ...shared, src_lang: from };
  return { ...shared, src_lang: "auto", mode, lang_a: from, lang_b: to };
}
