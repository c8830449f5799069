// What was sent, against when it was spoken. The session's audio time line leaves silence out; the scheduler speaks in
// its terms (`speech_start_ms`), people in those of the clock.
//
// Bound: the newest `STRETCHES_MAX` stretches of speech and voiced marks are remembered.

const STRETCHES_MAX = 2000;

export class TimeLine {
  #sentMs = 0;
  #stretches = []; // {sentMs, spokenMs}: from here on both run alike
  #marks = []; // [sentMs after a voiced frame, when that was heard]

  // A frame is sent: `spokenMs` on the conversation's clock; `heardAt` (performance.now) where it was voiced.
  add(durationMs, spokenMs, heardAt) {
    const last = this.#stretches.at(-1);
    if (!last || spokenMs - last.spokenMs !== this.#sentMs - last.sentMs) {
      keep(this.#stretches, { sentMs: this.#sentMs, spokenMs });
    }
    this.#sentMs += durationMs;
    if (heardAt === null) return;
    if (this.#marks.at(-1)?.[0] === this.#sentMs - durationMs) this.#marks.pop(); // one mark for a voiced run
    keep(this.#marks, [this.#sentMs, heardAt]);
  }

  // When something at `sentMs` of the session's time line was spoken.
  spokenAt(sentMs) {
    const stretch = this.#stretches.findLast((one) => one.sentMs <= sentMs) ?? this.#stretches[0];
    return stretch ? stretch.spokenMs + (sentMs - stretch.sentMs) : sentMs;
  }

  // Milliseconds since the last voiced sound before `sentMs`; null where nothing is remembered of it.
  lateMs(sentMs) {
    const mark = this.#marks.findLast(([at]) => at <= sentMs + 1);
    return mark ? performance.now() - mark[1] : null;
  }
}

function keep(list, value) {
  list.push(value);
  if (list.length > STRETCHES_MAX) list.shift();
}
