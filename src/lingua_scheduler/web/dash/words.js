// The dashboards in the reader's language, and numbers and times as that language writes them.

import { localise, pageLanguage, preferredLanguage } from "../page/i18n.js";
import { EN } from "./en.js";
import { ZH } from "./zh.js";

const WORDS = { en: EN, zh: ZH };
const KEPT = "lingua"; // the web client keeps its settings under the same name

export function settings() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? {};
  } catch {
    return {};
  }
}

export function keep(change) {
  try {
    localStorage.setItem(KEPT, JSON.stringify({ ...settings(), ...change }));
  } catch {
    // a browser that keeps nothing
  }
}

// Speak `language`; without one what was asked for by the address, chosen before, or is the browser's.
export function speak(language = "") {
  const asked = language || new URLSearchParams(location.search).get("lang") || settings().language;
  localise(asked in WORDS ? asked : preferredLanguage(), document.createElement("i"));
}

export function d(key, values = {}) {
  const sentence = WORDS[pageLanguage()][key] ?? EN[key] ?? key;
  return sentence.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export function hasWord(key) {
  return key in EN;
}

const locale = () => (pageLanguage() === "zh" ? "zh-CN" : "en-GB");

export function number(value, digits = 0) {
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(value ?? 0);
}

export function percent(share) {
  return `${Math.round((share ?? 0) * 100)} %`;
}

// 84 ms, 1.24 s, 12 s
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${number(ms / 1000, ms < 10_000 ? 2 : 1)} s`;
}

// 8 s, 3 min, 4 h, 2 d
export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return d("span.s", { n: seconds });
  if (seconds < 5400) return d("span.min", { n: Math.round(seconds / 60) });
  if (seconds < 129_600) return d("span.h", { n: Math.round(seconds / 3600) });
  return d("span.d", { n: Math.round(seconds / 86_400) });
}

export const ago = (ms) => d("ago", { span: span(ms) });

export function time(atMs) {
  return new Intl.DateTimeFormat(locale(), { timeStyle: "medium", hourCycle: "h23" }).format(atMs);
}

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  return count < 1 << 20 ? `${number(count / 1024, 1)} KiB` : `${number(count / (1 << 20), 1)} MiB`;
}

// A word of the protocol in the reader's language, or as it is.
export function word(group, value) {
  return hasWord(`${group}.${value}`) ? d(`${group}.${value}`) : value;
}
