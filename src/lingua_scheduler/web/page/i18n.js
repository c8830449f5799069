// The page in the reader's language: `t(key)` in scripts, `data-t`, `data-t-label` and `data-t-title` in the document.

import { EN } from "./en.js";
import { ZH } from "./zh.js";

const WORDS = { en: EN, zh: ZH };
let language = "en";

// "zh" or "en", whichever the browser prefers first.
export function preferredLanguage() {
  for (const one of navigator.languages ?? []) {
    const base = one.toLowerCase().split("-")[0];
    if (base in WORDS) return base;
  }
  return "en";
}

export function pageLanguage() {
  return language;
}

// The sentence of `key`, `{name}` in it replaced.
export function t(key, values = {}) {
  const sentence = WORDS[language][key] ?? EN[key] ?? key;
  return sentence.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export function hasWords(key) {
  return key in EN;
}

// Show the document, or one part of it, in `next`.
export function localise(next = language, root = document) {
  language = next in WORDS ? next : "en";
  document.documentElement.lang = language;
  document.title = t("page.title");
  for (const one of root.querySelectorAll("[data-t]")) one.textContent = t(one.dataset.t);
  for (const one of root.querySelectorAll("[data-t-label]")) {
    const label = t(one.dataset.tLabel);
    one.setAttribute("aria-label", label);
    if (one.matches("button")) one.title = label;
  }
  for (const one of root.querySelectorAll("[data-t-title]")) one.title = t(one.dataset.tTitle);
}

// The name of a language, in the page's language.
export function languageName(code) {
  let name = code;
  try {
    name = new Intl.DisplayNames([language], { type: "language", fallback: "code" }).of(code) ?? code;
  } catch {
    // not a code that the browser knows as one: it is shown as it came
  }
  return name.charAt(0).toUpperCase() + name.slice(1);
}
