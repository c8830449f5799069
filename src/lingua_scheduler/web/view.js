// What the page shows: the list of utterances, the state, the notice.

import { nameOf } from "./languages.js";

const MISSING = {
  silence_detected: "Silence",
  no_speech: "No words were understood",
  merged: "Goes with the next sentence",
  gap_timeout: "This one takes longer",
  job_failed: "This sentence could not be translated",
  job_timeout: "This sentence took too long to translate",
  no_available_node: "No translation node was free for this sentence",
  pending_overflow_evict: "Too many results were waiting",
  audio_lost: "The sound of this sentence was lost",
};
const QUIET_REASONS = new Set(["silence_detected", "no_speech"]);

const byId = (id) => document.getElementById(id);

export class Conversation {
  #list = byId("utterances");
  #scroller = byId("conversation");
  #rows = new Map();
  #session = 0;

  // Indices begin anew with each session; rows of earlier ones stay.
  beginSession() {
    this.#session += 1;
  }

  partial({ utterance_index, text, stable_chars }, from) {
    const row = this.#row(utterance_index, "pending");
    if (row.dataset.kind !== "pending") return;
    const source = paragraph("source", from, text.slice(0, stable_chars ?? 0));
    source.append(element("span", "tentative", text.slice(stable_chars ?? 0)));
    row.replaceChildren(source, element("p", "translation pulse", "…"));
    this.#follow(row);
  }

  // `replay`: what the row's button does; null where there is no speech.
  result(result, { from, to, lateMs, replay }) {
    const row = this.#row(result.utterance_index, "result");
    row.dataset.kind = "result";
    row.dataset.sound = replay ? "waiting" : "none";
    const tools = element("div", "tools");
    if (lateMs !== null) {
      const late = element("span", "late", `${(lateMs / 1000).toFixed(1)} s`);
      late.title = "From the end of your speech to this text";
      tools.append(late);
    }
    if (replay) tools.append(replayButton(result.text_translated, replay));
    row.replaceChildren(
      paragraph("source", result.src_lang ?? from, result.text_asr),
      paragraph("translation", result.tgt_lang ?? to, result.text_translated),
      tools,
    );
    this.#follow(row);
  }

  missing({ utterance_index, reason }) {
    const row = this.#row(utterance_index, "missing");
    if (QUIET_REASONS.has(reason)) {
      row.remove();
      return;
    }
    row.dataset.kind = "missing";
    row.replaceChildren(element("p", "source", MISSING[reason] ?? reason));
    this.#follow(row);
  }

  soundState(index, state) {
    const row = this.#rows.get(`${this.#session}/${index}`);
    if (row) row.dataset.sound = state;
  }

  #row(index, kind) {
    const key = `${this.#session}/${index}`;
    let row = this.#rows.get(key);
    if (!row) {
      row = element("li", "utterance");
      row.dataset.kind = kind;
      this.#rows.set(key, row);
      this.#list.append(row);
      byId("empty").hidden = true;
    }
    return row;
  }

  #follow(row) {
    if (row === this.#list.lastElementChild) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }
}

export function showState(state, text) {
  byId("state").dataset.state = state;
  byId("state").textContent = text;
}

// An empty text takes the notice away.
export function showNotice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

export function showMicrophone({ isOn, isBusy = false }) {
  const button = byId("microphone");
  button.setAttribute("aria-pressed", String(isOn));
  button.setAttribute("aria-busy", String(isBusy));
}

function paragraph(className, language, text) {
  const made = element("p", className, text);
  made.lang = language;
  made.title = nameOf(language);
  return made;
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function replayButton(text, replay) {
  const button = element("button", "replay");
  button.type = "button";
  button.setAttribute("aria-label", `Play again: ${text}`);
  const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("width", "18");
  icon.setAttribute("height", "18");
  icon.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", "M4 10v4h4l5 4V6l-5 4zM16.5 9a4 4 0 0 1 0 6M19 6.5a8 8 0 0 1 0 11");
  icon.append(path);
  button.append(icon);
  button.addEventListener("click", replay);
  return button;
}
