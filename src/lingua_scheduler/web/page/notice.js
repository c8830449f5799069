// One line for people, above the conversation: what went wrong and what to do. What passes goes by itself.

import { byId } from "./dom.js";

const PASSING_MS = { good: 3000, passing: 6000 };

export class Notice {
  #timer = 0;

  constructor() {
    byId("notice-close").addEventListener("click", () => this.clear());
  }

  // `tone`: quiet, good and passing (these two go by themselves), warning, error.
  show(text, tone = "warning") {
    clearTimeout(this.#timer);
    byId("notice-text").textContent = text;
    byId("notice").dataset.tone = tone;
    byId("notice").hidden = false;
    if (tone in PASSING_MS) this.#timer = setTimeout(() => this.clear(), PASSING_MS[tone]);
  }

  clear() {
    clearTimeout(this.#timer);
    byId("notice").hidden = true;
    byId("notice-text").textContent = "";
  }
}
