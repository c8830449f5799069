// The audio that was spoken and is not concluded yet, so that a lost socket loses no word: the same rules as the Python
// client's `ring.py`. Every chunk has a `seq`, from 0, without gaps; it stays until it is acknowledged. `take` walks a
// cursor through them, `rewind` sets it back when another connection begins.
//
// Bound: `bytesMax`. A full ring says so (`hasRoom`) and whoever fills it stops: audio is never dropped here.

const CHUNK_BYTES = 64; // what a chunk without audio counts for

export class Ring {
  #chunks = [];
  #bytes = 0;
  #bytesMax;
  #nextSeq = 0;
  #cursor = 0; // seq of the next chunk to send

  constructor(bytesMax) {
    this.#bytesMax = bytesMax;
  }

  get hasRoom() {
    return this.#bytes < this.#bytesMax;
  }

  get hasUnsent() {
    return this.#cursor < this.#nextSeq;
  }

  // Chunks that are not concluded.
  get length() {
    return this.#chunks.length;
  }

  // The newest chunk that is forgotten; -1: none.
  get ackedSeq() {
    return this.#nextSeq - this.#chunks.length - 1;
  }

  add(audio, isFinal, spokenAtMs) {
    this.#chunks.push({ seq: this.#nextSeq++, audio, isFinal, spokenAtMs });
    this.#bytes += CHUNK_BYTES + audio.length;
  }

  // The next chunk to send, which stays in the ring; null where there is none.
  take() {
    if (!this.hasUnsent) return null;
    return this.#chunks[this.#cursor++ - this.#chunks[0].seq];
  }

  // Forget every chunk up to `seq`. What was never sent cannot have been concluded and stays.
  acknowledge(seq) {
    const last = Math.min(seq, this.#cursor - 1);
    while (this.#chunks.length > 0 && this.#chunks[0].seq <= last) {
      this.#bytes -= CHUNK_BYTES + this.#chunks.shift().audio.length;
    }
  }

  // Send again from `nextSeq`, or from the oldest chunk there is.
  rewind(nextSeq) {
    const oldest = this.#chunks.length > 0 ? this.#chunks[0].seq : this.#nextSeq;
    this.#cursor = Math.min(Math.max(nextSeq, oldest), this.#nextSeq);
  }
}
