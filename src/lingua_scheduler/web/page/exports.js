// The transcript as a file: text to read, subtitles to show, JSON to go on working with.

const FORMATS = {
  txt: ["text/plain", asText],
  srt: ["application/x-subrip", asSubtitles],
  json: ["application/json", asJson],
};
const SHORTEST_MS = 1000; // a subtitle that nobody can read in less

// `about`: {startedAt: Date}. `{name, type, text}` of the file.
export function exportTranscript(entries, format, about) {
  const [type, make] = FORMATS[format];
  const stamp = about.startedAt.toISOString().slice(0, 16).replace(/[T:]/g, "-");
  return { name: `lingua-${stamp}.${format}`, type, text: make(said(entries), about) };
}

function said(entries) {
  return entries.filter(({ kind, source }) => kind === "result" || kind === "missing" || (kind === "said" && source));
}

function asText(entries) {
  const paragraphs = entries.map((entry) => {
    const head = `[${clock(entry.startMs, ".").slice(0, 8)}]${entry.speaker ? ` ${entry.speaker}` : ""}`;
    if (entry.kind === "missing") return `${head} (${entry.reason})\n${entry.source}`.trimEnd();
    if (entry.kind === "said") return `${head}\n${entry.srcLang}: ${entry.source}`;
    return `${head}\n${entry.srcLang}: ${entry.source}\n${entry.tgtLang}: ${translated(entry)}`;
  });
  return `${paragraphs.join("\n\n")}\n`;
}

function translated(entry) {
  return entry.isCut ? `${entry.translation} […]` : entry.translation;
}

// Subtitles never overlap: one ends where the next begins.
function asSubtitles(entries) {
  const shown = entries.filter(({ kind }) => kind === "result").sort((a, b) => a.startMs - b.startMs);
  const cues = shown.map((entry, at) => {
    const endMs = Math.max(entry.endMs ?? entry.startMs, entry.startMs + SHORTEST_MS);
    const until = Math.min(endMs, shown[at + 1]?.startMs ?? Infinity);
    const lines = [entry.source, translated(entry)].map((line) => line.replace(/\s*\n\s*/g, " "));
    return `${at + 1}\n${clock(entry.startMs, ",")} --> ${clock(Math.max(until, entry.startMs + 1), ",")}\n${lines.join("\n")}\n`;
  });
  return cues.join("\n");
}

function asJson(entries, { startedAt }) {
  const utterances = entries.map((entry) => ({
    start_ms: Math.round(entry.startMs),
    end_ms: entry.endMs === null ? null : Math.round(entry.endMs),
    speaker: entry.speaker,
    src_lang: entry.srcLang,
    tgt_lang: entry.tgtLang,
    source: entry.source,
    translation: entry.translation,
    missing: entry.kind === "missing" ? entry.reason : null,
    end_missing: entry.isCut,
    latency_ms: entry.lateMs === null ? null : Math.round(entry.lateMs),
    service_timings: entry.timings,
    quality: entry.quality,
  }));
  return `${JSON.stringify({ started_at: startedAt.toISOString(), utterances }, null, 2)}\n`;
}

// 3723004 → 01:02:03,004
export function clock(ms, point) {
  const whole = Math.max(0, Math.round(ms));
  const part = (value, digits = 2) => String(Math.floor(value)).padStart(digits, "0");
  return `${part(whole / 3_600_000)}:${part((whole / 60_000) % 60)}:${part((whole / 1000) % 60)}${point}${part(whole % 1000, 3)}`;
}
