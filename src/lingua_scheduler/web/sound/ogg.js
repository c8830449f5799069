// Puts bare Opus packets into an Ogg file (RFC 3533, RFC 7845), which every browser's decodeAudioData understands.

const HEAD_FLAG_FIRST = 2;
const HEAD_FLAG_LAST = 4;
const SERIAL = 1;
const SEGMENTS_MAX = 255;
// Samples of 48 kHz that the node's encoder looks ahead: the decoder leaves them out. One that looks further ahead leaves
// a few milliseconds of silence in front of the speech.
const ENCODER_DELAY = 120;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte << 24;
  for (let bit = 0; bit < 8; bit += 1) value = value & 0x80000000 ? (value << 1) ^ 0x04c11db7 : value << 1;
  return value;
});

// The packets of a payload in which each stands behind its length, as an unsigned 16-bit little-endian number.
export function splitPackets(payload) {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const packets = [];
  for (let at = 0; at < payload.length;) {
    if (at + 2 > payload.length) throw new Error("half a packet length");
    const size = view.getUint16(at, true);
    at += 2;
    if (size === 0 || at + size > payload.length) throw new Error("a packet runs past the end");
    packets.push(payload.subarray(at, at + size));
    at += size;
  }
  return packets;
}

export function oggFromPackets(packets) {
  const pages = [page([opusHead()], 0, 0, HEAD_FLAG_FIRST), page([opusTags()], 1, 0, 0)];
  let granule = 0;
  for (let at = 0; at < packets.length;) {
    const some = [];
    for (let segments = 0; at < packets.length; at += 1) {
      segments += Math.floor(packets[at].length / 255) + 1;
      if (segments > SEGMENTS_MAX) break;
      some.push(packets[at]);
      granule += packetSamples(packets[at]);
    }
    pages.push(page(some, pages.length, granule, at === packets.length ? HEAD_FLAG_LAST : 0));
  }
  return new Blob(pages, { type: "audio/ogg" });
}

// Duration of a packet in samples of 48 kHz, from its first byte (RFC 6716, section 3.1).
export function packetSamples(packet) {
  const config = packet[0] >> 3;
  const frame =
    config < 12 ? [480, 960, 1920, 2880][config & 3] : config < 16 ? [480, 960][config & 1] : 120 << (config & 3);
  const code = packet[0] & 3;
  return frame * (code === 0 ? 1 : code === 3 ? packet[1] & 63 : 2);
}

function opusHead() {
  const head = new Uint8Array(19);
  head.set(new TextEncoder().encode("OpusHead"));
  const view = new DataView(head.buffer);
  view.setUint8(8, 1);
  view.setUint8(9, 1);
  view.setUint16(10, ENCODER_DELAY, true);
  view.setUint32(12, 16000, true);
  return head;
}

function opusTags() {
  const tags = new Uint8Array(16);
  tags.set(new TextEncoder().encode("OpusTags"));
  return tags;
}

function page(packets, number, granule, flags) {
  const lacing = packets.flatMap((packet) => [
    ...Array(Math.floor(packet.length / 255)).fill(255),
    packet.length % 255,
  ]);
  const size = 27 + lacing.length + packets.reduce((sum, packet) => sum + packet.length, 0);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode("OggS"));
  view.setUint8(5, flags);
  view.setUint32(6, granule, true);
  view.setUint32(14, SERIAL, true);
  view.setUint32(18, number, true);
  view.setUint8(26, lacing.length);
  bytes.set(lacing, 27);
  let at = 27 + lacing.length;
  for (const packet of packets) {
    bytes.set(packet, at);
    at += packet.length;
  }
  view.setUint32(22, crc(bytes), true);
  return bytes;
}

function crc(bytes) {
  let value = 0;
  for (const byte of bytes) value = (value << 8) ^ CRC_TABLE[((value >>> 24) ^ byte) & 255];
  return value >>> 0;
}
