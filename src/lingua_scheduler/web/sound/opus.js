// Speech as it goes on the wire: Opus where the browser can both make and play it, PCM16 else.
//
// Frames go in and `onAudio(bytes)` comes out in order, `onFinal()` behind all that was fed before it. WebCodecs
// answers later, so what is fed waits in a chain; nothing overtakes. One frame makes one packet, so that durations stay
// exact; a flush would make one more, and is only the way out where a browser keeps packets back.

const RATE = 16_000;
const FRAME_US = 20_000;
const OPUS = {
  codec: "opus",
  sampleRate: RATE,
  numberOfChannels: 1,
  bitrate: 24_000, // transparent for recognition at 16 kHz; a tenth of PCM16
  opus: { frameDuration: FRAME_US, application: "voip" },
};

const LATE_MS = 250;

// "opus" or "pcm16": what this browser should declare for a session. `?audio=pcm16` in the address asks for that.
export async function chooseFormat(asked) {
  if (asked === "pcm16" || !globalThis.AudioEncoder) return "pcm16";
  if (!new Audio().canPlayType('audio/ogg; codecs="opus"')) return "pcm16";
  try {
    return (await AudioEncoder.isConfigSupported(OPUS)).supported ? "opus" : "pcm16";
  } catch {
    return "pcm16";
  }
}

export function makeEncoder(format, handlers) {
  return format === "opus" ? new OpusFrames(handlers) : new PcmFrames(handlers);
}

class PcmFrames {
  #handlers;

  constructor(handlers) {
    this.#handlers = handlers;
  }

  // `frames` are Int16Arrays of 20 ms.
  push(frames) {
    const size = frames.reduce((sum, frame) => sum + frame.length, 0);
    const samples = new Int16Array(size);
    let at = 0;
    for (const frame of frames) {
      samples.set(frame, at);
      at += frame.length;
    }
    this.#handlers.onAudio(new Uint8Array(samples.buffer));
  }

  final() {
    this.#handlers.onFinal();
  }

  // Resolves when all that was fed has come out.
  async close() {}
}

class OpusFrames {
  #handlers;
  #packets = [];
  #chain = Promise.resolve();
  #encoder;
  #fed = 0; // frames
  #made = 0; // packets
  #onMade = () => {};

  constructor(handlers) {
    this.#handlers = handlers;
    this.#encoder = new AudioEncoder({
      output: (chunk) => {
        const packet = new Uint8Array(chunk.byteLength);
        chunk.copyTo(packet);
        this.#packets.push(packet);
        this.#made += 1;
        this.#onMade();
      },
      error: (error) => handlers.onError(error),
    });
    this.#encoder.configure(OPUS);
  }

  push(frames) {
    this.#queue(frames, () => {});
  }

  final() {
    this.#queue([], () => this.#handlers.onFinal());
  }

  async close() {
    await this.#chain;
    if (this.#encoder.state !== "closed") this.#encoder.close();
  }

  #queue(frames, after) {
    this.#chain = this.#chain
      .then(async () => {
        if (this.#encoder.state === "closed") return;
        for (const frame of frames) this.#encode(frame);
        if (this.#made < this.#fed) await this.#untilMade();
        const packets = this.#packets.splice(0);
        if (packets.length > 0) this.#handlers.onAudio(prefixed(packets));
        after();
      })
      .catch((error) => this.#handlers.onError(error));
  }

  async #untilMade() {
    const made = new Promise((resolve) => {
      this.#onMade = () => this.#made >= this.#fed && resolve();
    });
    const late = new Promise((resolve) => setTimeout(resolve, LATE_MS));
    await Promise.race([made, late]);
    if (this.#made < this.#fed) await this.#encoder.flush();
  }

  #encode(frame) {
    const data = new AudioData({
      format: "s16",
      sampleRate: RATE,
      numberOfFrames: frame.length,
      numberOfChannels: 1,
      timestamp: this.#fed * FRAME_US,
      data: frame,
    });
    this.#fed += 1;
    this.#encoder.encode(data);
    data.close();
  }
}

// Each packet behind its length, as an unsigned 16-bit little-endian number.
function prefixed(packets) {
  const bytes = new Uint8Array(packets.reduce((sum, packet) => sum + 2 + packet.length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const packet of packets) {
    view.setUint16(at, packet.length, true);
    bytes.set(packet, at + 2);
    at += 2 + packet.length;
  }
  return bytes;
}
