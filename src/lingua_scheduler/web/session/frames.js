// Binary frames of protocol 1.1 (docs/protocol.md), and the same as JSON for a scheduler that takes none.

const AUDIO = 1;
const FINAL = 2;
const PING = 0x10;
const PONG = 0x11;

// A chunk of the ring as it goes on the wire: an ArrayBuffer, or text where `isBinary` is false.
export function encodeChunk({ seq, audio, isFinal, spokenAtMs }, sessionId, isBinary) {
  if (!isBinary) {
    const payload = audio.length > 0 ? { payload: toBase64(audio) } : {};
    const head = { type: "audio_chunk", session_id: sessionId, seq, is_final: isFinal };
    return JSON.stringify({ ...head, ...payload, client_timestamp_ms: spokenAtMs });
  }
  const isBare = isFinal && audio.length === 0;
  const id = new TextEncoder().encode(sessionId);
  const headBytes = isBare ? 10 : 12;
  const frame = new Uint8Array(headBytes + id.length + audio.length);
  const view = new DataView(frame.buffer);
  view.setUint8(0, isBare ? FINAL : AUDIO);
  view.setUint8(1, id.length);
  view.setUint32(2, seq, true);
  view.setUint32(6, spokenAtMs % 2 ** 32, true);
  if (!isBare) view.setUint8(10, Number(isFinal));
  frame.set(id, headBytes);
  frame.set(audio, headBytes + id.length);
  return frame.buffer;
}

// What the scheduler sent, or null where this page does not know it.
export function decodeFrame(data) {
  if (data instanceof ArrayBuffer) {
    return new DataView(data).getUint8(0) === PING ? { type: "ping", data } : null;
  }
  try {
    const message = JSON.parse(data);
    return typeof message?.type === "string" ? message : null;
  } catch {
    return null;
  }
}

export function encodePong({ data }) {
  const pong = data.slice();
  new DataView(pong).setUint8(0, PONG);
  return pong;
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

function toBase64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
