// A sound file as input, in the frames that a microphone would give: 20 ms, 16 kHz, PCM16.

const RATE = 16_000;
const FRAME_SAMPLES = 320;
const SPEED = 8; // times real time
const TURN_FRAMES = 8 * SPEED; // fed at a time
const UNANSWERED_MAX = 100; // chunks of 100 ms: past ten seconds of unanswered speech the next sentence waits
const BYTES_MAX = 200 << 20;

export class FileTrouble extends Error {
  // `key` names the sentence for people.
  constructor(key) {
    super(key);
    this.key = key;
  }
}

// Decoded and brought to 16 kHz mono by the browser. Throws FileTrouble.
export async function readSound(file) {
  if (file.size > BYTES_MAX) throw new FileTrouble("trouble.fileLarge");
  const context = new OfflineAudioContext(1, 1, RATE);
  let buffer;
  try {
    buffer = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new FileTrouble("trouble.fileUnknown");
  }
  if (buffer.length === 0) throw new FileTrouble("trouble.fileEmpty");
  return mixed(buffer);
}

// Feeds `samples` (Float32Array, 16 kHz) to `speaker`. Faster than they were spoken, and between sentences no faster
// than they are answered. `signal` stops it; `onProgress` hears a share from 0 to 1.
export async function speakFile(samples, speaker, session, { signal, onProgress }) {
  const frames = Math.ceil(samples.length / FRAME_SAMPLES);
  for (let at = 0; at < frames; at += 1) {
    if (signal.aborted || session.isOver) return;
    speaker.feed(frameAt(samples, at));
    if (at % TURN_FRAMES === 0) {
      onProgress(at / frames);
      await pause((TURN_FRAMES * 20) / SPEED);
    }
    while (mustWait(speaker, session) && !signal.aborted && !session.isOver) await pause(50);
  }
  onProgress(1);
}

function mustWait(speaker, session) {
  return !session.hasRoom || (!speaker.isSpeaking && session.unconcluded > UNANSWERED_MAX);
}

function frameAt(samples, number) {
  const frame = new Int16Array(FRAME_SAMPLES);
  const part = samples.subarray(number * FRAME_SAMPLES, (number + 1) * FRAME_SAMPLES);
  for (let at = 0; at < part.length; at += 1)
    frame[at] = Math.max(-32768, Math.min(32767, Math.round(part[at] * 32768)));
  return frame;
}

function mixed(buffer) {
  const sum = buffer.getChannelData(0).slice();
  for (let channel = 1; channel < buffer.numberOfChannels; channel += 1) {
    buffer.getChannelData(channel).forEach((value, at) => (sum[at] += value));
  }
  return buffer.numberOfChannels === 1 ? sum : sum.map((value) => value / buffer.numberOfChannels);
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
