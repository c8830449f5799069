// What a person chose, kept in this browser; and the dialog where they choose it.

import { listMicrophones } from "../sound/recorder.js";
import { byId } from "./dom.js";
import { localise, preferredLanguage, t } from "./i18n.js";

const KEY = "lingua";
const TOKEN = "lingua-token"; // forgotten with the tab, and shown to nobody but the scheduler

export class Settings extends EventTarget {
  #kept = read();
  #language; // asked for by the address, or the browser's

  // `asked`: the page's language, by the address.
  constructor(asked) {
    super();
    this.#language = asked || this.get("language", preferredLanguage());
  }

  get(name, otherwise) {
    return this.#kept[name] ?? otherwise;
  }

  set(name, value) {
    this.#kept[name] = value;
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#kept));
    } catch {
      // a browser that keeps nothing: the choice holds until the page is closed
    }
  }

  get token() {
    return byId("token").value.trim();
  }

  // The scheduler wants a token, or another one.
  askForToken() {
    byId("token-field").hidden = false;
    this.#open();
    byId("token").focus();
  }

  // Show the page as chosen and listen to the dialog. Emits `language` and `device`.
  begin() {
    localise(this.#language);
    this.#look();
    byId("page-language").value = this.#language;
    byId("theme").value = this.get("theme", "auto");
    byId("size").value = this.get("size", "normal");
    byId("token").value = readToken();
    byId("token-field").hidden = this.token === "";
    byId("settings-open").addEventListener("click", () => this.#open());
    byId("token").addEventListener("change", () => keepToken(this.token));
    byId("page-language").addEventListener("change", ({ target }) => this.#speak(target.value));
    for (const name of ["theme", "size"]) {
      byId(name).addEventListener("change", ({ target }) => {
        this.set(name, target.value);
        this.#look();
      });
    }
    byId("device").addEventListener("change", ({ target }) => {
      this.set("device", target.value);
      this.dispatchEvent(new Event("device"));
    });
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.#fillDevices());
  }

  #speak(language) {
    this.set("language", language);
    localise(language);
    this.#fillDevices();
    this.dispatchEvent(new Event("language"));
  }

  #look() {
    document.documentElement.dataset.theme = this.get("theme", "auto");
    document.documentElement.dataset.size = this.get("size", "normal");
  }

  async #open() {
    byId("settings").showModal();
    await this.#fillDevices();
  }

  async #fillDevices() {
    const found = (await listMicrophones()).filter(({ id }) => id !== "default");
    const options = found.map(({ id, label }) => new Option(label, id));
    byId("device").replaceChildren(new Option(t("settings.default"), ""), ...options);
    byId("device").value = found.some(({ id }) => id === this.get("device", "")) ? this.get("device") : "";
  }
}

function readToken() {
  try {
    return sessionStorage.getItem(TOKEN) ?? "";
  } catch {
    return "";
  }
}

function keepToken(token) {
  try {
    if (token) sessionStorage.setItem(TOKEN, token);
    else sessionStorage.removeItem(TOKEN);
  } catch {
    // it holds until the page is closed
  }
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}
