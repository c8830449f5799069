// The page: a microphone, a session and a player, wired to what is shown.
//
// The address may choose: `?from=en&to=pt` the languages, `mic=raw` a microphone without the browser's processing.

import { FRAME_MS, SpeechGate, loudness } from "./gate.js";
import { Languages } from "./languages.js";
import { Player } from "./player.js";
import { Recorder } from "./recorder.js";
import { Session } from "./session.js";
import { Conversation, showMicrophone, showNotice, showState } from "./view.js";

const CHUNK_FRAMES = 5;
const FRAME_SAMPLES = 16 * FRAME_MS;
const LOUD = 4000;
const asked = new URLSearchParams(location.search);
const byId = (id) => document.getElementById(id);

const languages = new Languages(byId("from"), byId("to"), { from: asked.get("from"), to: asked.get("to") });
const conversation = new Conversation();
const player = new Player();
let talk = null; // the Talk under way

// From a press of the microphone to the last answer.
class Talk {
  #recorder = new Recorder();
  #gate = new SpeechGate();
  #session;
  #from = languages.from;
  #to = languages.to;
  #waiting = [];
  #sentSamples = 0;
  #marks = []; // [where on the session's time line voiced sound ended, when that was]
  #voicedAt = null;
  #isStopped = false;

  async start() {
    await this.#recorder.open({ processing: asked.get("mic") !== "raw" });
    conversation.beginSession();
    this.#session = new Session(this.#from, this.#to);
    const on = (type, work) => this.#session.addEventListener(type, ({ detail }) => work(detail));
    on("open", (ack) => this.#onOpen(ack));
    on("partial", (partial) => conversation.partial(partial, this.#from));
    on("result", (result) => this.#onResult(result));
    on("missing", (missing) => conversation.missing(missing));
    on("trouble", ({ message }) => showNotice(message));
    on("end", ({ message }) => this.#onEnd(message));
    await this.#recorder.listen({
      onFrame: (frame) => this.#onFrame(frame),
      onEnded: () => this.stop("The microphone was disconnected."),
    });
  }

  // It never came to listening.
  async abandon() {
    await this.#recorder.stop();
    this.#session?.finish();
  }

  // Stop listening; what was said is still answered.
  async stop(notice = "") {
    if (this.#isStopped) return;
    this.#isStopped = true;
    if (notice) showNotice(notice);
    showMicrophone({ isOn: false });
    showState("idle", "Waiting for the last translation …");
    byId("level").value = 0;
    await this.#recorder.stop();
    this.#onHeard(this.#gate.flush());
    this.#session.finish();
  }

  #onFrame(frame) {
    if (this.#isStopped) return;
    byId("level").value = Math.min(1, Math.sqrt(loudness(frame) / LOUD));
    this.#onHeard(this.#gate.feed(frame));
    if (this.#session.isOpen) {
      showState(this.#gate.isSpeaking ? "hearing" : "listening", this.#gate.isSpeaking ? "Hearing you" : "Listening");
    }
  }

  #onHeard(heard) {
    for (const one of heard) {
      if (one.isPause) {
        this.#sendWaiting();
        this.#session.send(new Int16Array(), true);
        continue;
      }
      this.#waiting.push(one.frame);
      if (one.isVoiced) this.#voicedAt = [this.#sentSamples + this.#waiting.length * FRAME_SAMPLES, performance.now()];
      if (this.#waiting.length === CHUNK_FRAMES) this.#sendWaiting();
    }
  }

  #sendWaiting() {
    const samples = new Int16Array(this.#waiting.length * FRAME_SAMPLES);
    this.#waiting.splice(0).forEach((frame, at) => samples.set(frame, at * FRAME_SAMPLES));
    if (samples.length === 0) return;
    this.#session.send(samples);
    this.#sentSamples += samples.length;
    if (this.#voicedAt) this.#marks.push(this.#voicedAt);
    this.#voicedAt = null;
  }

  #onOpen(ack) {
    if (ack.message.includes("warning")) showNotice(ack.message);
    showMicrophone({ isOn: true });
    showState("listening", "Listening");
  }

  #onResult(result) {
    const onState = (state) => this.#onSound(result, state);
    const replay = result.tts_audio ? () => player.replay(result, onState) : null;
    conversation.result(result, { from: this.#from, to: this.#to, lateMs: this.#late(result), replay });
    if (replay && byId("aloud").checked) player.enqueue(result, onState);
  }

  #onSound(result, state) {
    conversation.soundState(result.utterance_index, state);
    if (state === "playing") this.#session.ttsStarted(result);
    if (state === "played") this.#session.ttsEnded(result);
  }

  // Milliseconds since the last voiced sound of this utterance; null where the scheduler does not tell where it ended.
  #late({ speech_end_ms }) {
    if (speech_end_ms === undefined) return null;
    const mark = this.#marks.findLast(([samples]) => samples <= (speech_end_ms + 1) * 16);
    return mark ? performance.now() - mark[1] : null;
  }

  async #onEnd(message) {
    this.#isStopped = true;
    await this.#recorder.stop();
    if (message) showNotice(message);
    showMicrophone({ isOn: false });
    showState(message ? "failed" : "idle", message ? "Stopped" : "Ready");
    byId("level").value = 0;
    talk = null;
    allowChoice();
  }
}

function allowChoice() {
  languages.disabled = talk !== null;
  byId("swap").disabled = talk !== null || !languages.canSwap;
}

async function toggle() {
  if (talk) {
    if (byId("microphone").getAttribute("aria-pressed") === "true") await talk.stop();
    return;
  }
  showNotice("");
  showState("idle", "Connecting …");
  showMicrophone({ isOn: false, isBusy: true });
  talk = new Talk();
  allowChoice();
  try {
    await player.unlock();
    await talk.start();
  } catch (error) {
    await talk.abandon();
    talk = null;
    allowChoice();
    showMicrophone({ isOn: false });
    showState("failed", "Stopped");
    showNotice(error.message);
  }
}

function onKey(event) {
  const isTyping = event.target.closest("select, input, textarea, button, a");
  if (event.code !== "Space" || event.repeat || isTyping) return;
  event.preventDefault();
  toggle();
}

async function begin() {
  byId("microphone").addEventListener("click", toggle);
  byId("swap").addEventListener("click", () => languages.swap());
  byId("languages").addEventListener("change", allowChoice);
  byId("aloud").addEventListener("change", ({ target }) => target.checked || player.stop());
  document.addEventListener("keydown", onKey);
  allowChoice();
  const isServed = await languages.refresh();
  if (talk) return;
  allowChoice();
  if (!isServed) showState("idle", "No node has told its languages yet");
}

begin();
