// From frames of sound to the session's audio: the gate decides what is speech, the encoder what it looks like on the
// wire, and a time line remembers when each sample was spoken.
//
// Frames of speech are sent five at a time (100 ms). A pause ends the utterance with a final; so does `sendNow`, which
// first lets through what the gate still holds. `onActivity(isSpeaking)` tells where speech begins and ends.

import { FRAME_MS, FRAME_SAMPLES, SpeechGate } from "./gate.js";
import { makeEncoder } from "./opus.js";
import { TimeLine } from "./timeline.js";

const CHUNK_FRAMES = 5;

export class Speaker {
  timeline = new TimeLine();
  #gate = new SpeechGate();
  #encoder;
  #session;
  #waiting = [];
  #heardMs = 0;
  #baseMs = 0;
  #wasSpeaking = false;
  #onActivity;

  constructor(session, format, { onActivity, onError }) {
    this.#session = session;
    this.#onActivity = onActivity;
    this.#encoder = makeEncoder(format, {
      onAudio: (bytes) => session.speak(bytes),
      onFinal: () => session.speak(new Uint8Array(), true),
      onError,
    });
  }

  get isSpeaking() {
    return this.#gate.isSpeaking;
  }

  // Where on the conversation's clock the next frame belongs.
  begin(atMs) {
    this.#gate = new SpeechGate();
    this.#baseMs = atMs;
    this.#heardMs = 0;
  }

  feed(frame) {
    this.#heardMs += FRAME_MS;
    this.#take(this.#gate.feed(frame));
  }

  // End what is being said here, also where the gate had not made up its mind. The microphone stays open.
  sendNow() {
    this.#cut();
  }

  // The sound is over; resolves when all of it is with the session.
  async end() {
    this.#cut();
    await this.#encoder.close();
  }

  // A cut may fall on a sound: a frame of silence behind it pushes out what an encoder still looks ahead at.
  #cut() {
    const heard = this.#gate.flush();
    const last = heard.findLast(({ isPause }) => !isPause)?.position ?? this.#heardMs / FRAME_MS;
    const isCut = heard.at(-1)?.isPause;
    if (isCut) heard.splice(-1, 0, { frame: new Int16Array(FRAME_SAMPLES), position: last + 1, isVoiced: false });
    this.#take(heard);
  }

  #take(heard) {
    for (const one of heard) {
      if (one.isPause) {
        this.#send();
        this.#encoder.final();
        continue;
      }
      const atMs = this.#baseMs + one.position * FRAME_MS;
      this.timeline.add(FRAME_MS, atMs, one.isVoiced ? performance.now() : null);
      this.#waiting.push(one.frame);
      if (this.#waiting.length === CHUNK_FRAMES) this.#send();
    }
    if (this.#gate.isSpeaking !== this.#wasSpeaking) {
      this.#wasSpeaking = this.#gate.isSpeaking;
      this.#onActivity(this.#wasSpeaking);
    }
  }

  #send() {
    if (this.#waiting.length > 0) this.#encoder.push(this.#waiting.splice(0));
  }
}
