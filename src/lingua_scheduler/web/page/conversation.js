// The transcript as people see it: the source beside its translation, the newest at the bottom, unless they scrolled
// back. Screen readers hear each translation once, when it is there, not every word of a sentence that is still being
// said.

import { byId, element, iconButton } from "./dom.js";
import { languageName, t } from "./i18n.js";

const ANNOUNCED_MAX = 5;
const NEAR_PX = 80;

export class ConversationView {
  #transcript;
  #list = byId("utterances");
  #scroller = byId("conversation");
  #rows = new Map();
  #onReplay;
  #sideOf = () => "a";
  #isFollowing = true;

  // `onReplay(entry)` plays an entry's speech again.
  constructor(transcript, { onReplay }) {
    this.#transcript = transcript;
    this.#onReplay = onReplay;
    transcript.addEventListener("change", ({ detail }) => this.#show(detail));
    transcript.addEventListener("gone", ({ detail }) => this.#remove(detail));
    transcript.addEventListener("clear", () => this.#clear());
    this.#scroller.addEventListener("scroll", () => this.#onScroll());
    byId("newest").addEventListener("click", () => this.#toNewest());
  }

  // Which column the language of a speaker has: in a conversation of two each keeps their own, else the source is left.
  setColumns({ mode, from, to }) {
    const isTwoWay = mode === "two_way_auto";
    this.#sideOf = (entry) => (isTwoWay && entry.srcLang === to ? "b" : "a");
    this.#scroller.dataset.mode = mode;
    byId("heads").hidden = mode === "room" || this.#transcript.isEmpty;
    byId("head-a").textContent = isTwoWay ? languageName(from) : t("head.spoken", { language: languageName(from) });
    byId("head-b").textContent = isTwoWay ? languageName(to) : t("head.translation", { language: languageName(to) });
    this.showEmpty(mode);
  }

  showEmpty(mode) {
    byId("empty").hidden = !this.#transcript.isEmpty;
    byId("empty-title").textContent = t(`empty.${mode}.title`);
    byId("empty-text").textContent = t(`empty.${mode}.text`);
  }

  // Everything anew, where the page's language has changed.
  refresh() {
    for (const entry of this.#transcript.entries) this.#fill(this.#rows.get(entry.id), entry);
  }

  #show(entry) {
    let row = this.#rows.get(entry.id);
    if (!row) {
      row = element("li", "utterance");
      this.#rows.set(entry.id, row);
      this.#list.append(row);
      byId("empty").hidden = true;
      byId("heads").hidden = this.#scroller.dataset.mode === "room";
    }
    const wasDone = row.dataset.kind === "result";
    if (!(wasDone && entry.kind === "result" && row.dataset.shown === shown(entry))) this.#fill(row, entry);
    row.dataset.sound = entry.sound;
    if (entry.kind === "result" && !wasDone) this.#announce(entry);
    if (this.#isFollowing) this.#toNewest();
  }

  #fill(row, entry) {
    row.dataset.kind = entry.kind;
    row.dataset.side = this.#sideOf(entry);
    row.dataset.shown = shown(entry);
    row.replaceChildren(...this.#head(entry), this.#source(entry), this.#translation(entry), this.#tools(entry));
  }

  #head(entry) {
    return entry.speaker ? [element("p", "speaker", entry.speaker)] : [];
  }

  #source(entry) {
    const made = element("p", "source");
    made.lang = entry.srcLang;
    if (["live", "waiting", "said"].includes(entry.kind)) {
      made.append(element("span", "stable", entry.source.slice(0, entry.stableChars)));
      made.append(element("span", "tentative", entry.source.slice(entry.stableChars)));
      if (entry.kind === "live") made.append(dots());
    } else {
      made.textContent = entry.source;
    }
    return made;
  }

  #translation(entry) {
    const made = element("p", "translation");
    if (entry.kind === "result") {
      made.textContent = entry.translation;
      made.lang = entry.tgtLang;
      if (entry.isCut) {
        const cut = element("span", "cut", t("cut"));
        cut.lang = document.documentElement.lang;
        made.append(cut);
      }
    } else if (entry.kind === "missing") {
      made.textContent = t(`missing.${entry.reason}`);
    } else if (entry.kind === "said") {
      made.append(element("span", "shared", t("said")));
    } else if (entry.kind === "waiting") {
      made.append(element("span", "translating", t("translating")));
    }
    return made;
  }

  #tools(entry) {
    const tools = element("div", "tools");
    if (entry.speech) {
      const button = iconButton("sound", t("speech.replay", { text: entry.translation }));
      button.classList.add("replay");
      button.addEventListener("click", () => this.#onReplay(entry));
      tools.append(button);
    }
    if (entry.kind === "result" && entry.lateMs !== null) {
      const late = element("span", "late", seconds(entry.lateMs));
      late.title = explain(entry);
      tools.append(late);
    }
    return tools;
  }

  #announce(entry) {
    const line = element("p", "", entry.translation);
    line.lang = entry.tgtLang;
    const announcer = byId("announcer");
    announcer.append(line);
    while (announcer.children.length > ANNOUNCED_MAX) announcer.firstChild.remove();
  }

  #remove(entry) {
    this.#rows.get(entry.id)?.remove();
    this.#rows.delete(entry.id);
  }

  #clear() {
    this.#rows.clear();
    this.#list.replaceChildren();
    byId("announcer").replaceChildren();
    byId("heads").hidden = true;
    byId("empty").hidden = false;
    this.#toNewest();
  }

  #onScroll() {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroller;
    this.#isFollowing = scrollTop + clientHeight > scrollHeight - NEAR_PX;
    byId("newest").hidden = this.#isFollowing;
  }

  #toNewest() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    byId("newest").hidden = true;
    this.#isFollowing = true;
  }
}

export function seconds(ms) {
  return t("late", { seconds: (ms / 1000).toFixed(1) });
}

// What of a result can change once it is there.
function shown({ speech, isCut }) {
  return `${speech !== null} ${isCut}`;
}

function explain({ lateMs, timings }) {
  const whole = t("late.title", { late: seconds(lateMs) });
  if (!timings) return whole;
  const stage = (ms) => (ms === undefined ? "–" : seconds(ms));
  return `${whole} ${t("late.stages", { asr: stage(timings.asr_ms), nmt: stage(timings.nmt_ms), tts: stage(timings.tts_ms) })}`;
}

function dots() {
  const made = element("span", "dots");
  made.setAttribute("aria-hidden", "true");
  made.append(element("i"), element("i"), element("i"));
  return made;
}
