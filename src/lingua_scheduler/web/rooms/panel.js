// A room: created or joined by its code, with its members and their voices.
//
// | the panel shows | while                                                   |
// |-----------------|---------------------------------------------------------|
// | entrance        | no session, or `room_error` has answered the wish       |
// | waiting         | the session is being opened, or the wish is on its way  |
// | members         | from the first `room_members` to leaving or expiry      |
//
// A room lives in a session: entering opens one, leaving ends it. A session that is resumed is still in its room.

import { byId, element, icon, iconButton } from "../page/dom.js";
import { languageName, t } from "../page/i18n.js";
import { Voices } from "./voice.js";

const CODE = /^\d{6}$/;

export class RoomPanel {
  #root;
  #settings;
  #onEnter;
  #onLeave;
  #notice;
  #talk = null;
  #code;
  #isIn = false;
  #isBusy = false;
  #members = [];
  #names = new Map(); // of everyone who was ever seen here, for what they said before they left
  #heard = new Set(); // ids of members whose own voice is wanted
  #declined = new Set(); // ids of members who were told that it is not
  #track = null;
  #voices = new Voices((message) => this.#talk?.session.say({ ...message, room_code: this.#code }));

  // `onEnter(enter)` opens a session and calls `enter` in it; `onLeave` ends it.
  constructor(root, { settings, code, onEnter, onLeave, notice }) {
    this.#root = root;
    this.#settings = settings;
    this.#code = code ?? "";
    this.#onEnter = onEnter;
    this.#onLeave = onLeave;
    this.#notice = notice;
  }

  set isShown(value) {
    this.#root.hidden = !value;
  }

  // A member's name; null outside of rooms.
  nameOf(id) {
    return this.#isIn ? (this.#names.get(id) ?? t("room.guest")) : null;
  }

  get hasOthers() {
    return this.#members.length > 1;
  }

  attach(talk) {
    this.#talk = talk;
    talk.addEventListener("message", ({ detail }) => this.#onMessage(detail));
  }

  attachTrack(track) {
    this.#track = track;
    this.#syncVoices();
  }

  // The session is over.
  left() {
    this.#voices.close();
    this.#talk = null;
    this.#track = null;
    this.#isIn = false;
    this.#isBusy = false;
    this.#members = [];
    this.#heard.clear();
    this.#declined.clear();
    this.render();
  }

  askForCode() {
    (byId("room-code") ?? this.#root).focus();
  }

  render() {
    this.#root.replaceChildren(...(this.#isIn ? this.#inside() : this.#entrance()));
  }

  // ------------------------------------------------------------------------------------ entrance

  #entrance() {
    const form = element("form", "entrance");
    const name = field("room-name", t("room.name"), this.#settings.get("name", ""), {
      maxLength: 40,
      autocomplete: "nickname",
    });
    const code = field("room-code", t("room.code"), this.#code, {
      maxLength: 7,
      inputMode: "numeric",
      placeholder: "123 456",
    });
    const join = element("button", "plain strong", t("room.join"));
    const create = element("button", "plain", t("room.create"));
    create.type = "button";
    create.addEventListener("click", () => this.#enter("room_create"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#enter("room_join");
    });
    form.append(name, code, join, element("span", "or", t("room.or")), create);
    for (const one of form.querySelectorAll("input, button")) one.disabled = this.#isBusy;
    return [form];
  }

  #enter(type) {
    const name = byId("room-name").value.trim();
    const code = byId("room-code").value.replace(/\D/g, "");
    this.#settings.set("name", name);
    if (type === "room_join" && !CODE.test(code)) {
      this.#notice.show(t("error.INVALID_ROOM_CODE"), "warning");
      this.askForCode();
      return;
    }
    this.#code = type === "room_join" ? code : "";
    this.#isBusy = true;
    this.render();
    const wish = { type, preferred_lang: byId("to").value, ...(name ? { display_name: name } : {}) };
    const more = type === "room_join" ? { room_code: code } : { client_ts: Date.now() };
    this.#onEnter(() => {
      this.#talk.addEventListener("open", () => this.#talk?.session.say({ ...wish, ...more }), { once: true });
    });
  }

  // ------------------------------------------------------------------------------------ inside

  #inside() {
    const head = element("div", "room-head");
    const code = element("p", "code");
    code.append(element("span", "unseen", `${t("room.code")}: `), element("b", "", this.#code.replace(/(...)/, "$1 ")));
    const copy = iconButton("link", t("room.copy"));
    copy.addEventListener("click", () => this.#copyLink());
    const leave = element("button", "plain", t("room.leave"));
    leave.type = "button";
    leave.addEventListener("click", () => this.#leave());
    head.append(code, copy, leave);
    const list = element("ul", "members");
    list.setAttribute("aria-label", t("room.members"));
    list.append(...this.#members.map((member) => this.#memberRow(member)));
    return [head, list];
  }

  #memberRow({ session_id, preferred_lang }) {
    const row = element("li", "member");
    const isMe = session_id === this.#talk?.session.id;
    const name = this.#names.get(session_id);
    row.append(element("span", "avatar", name.slice(0, 1).toUpperCase()));
    const words = element("span", "who");
    words.append(element("b", "", isMe ? t("room.you", { name }) : name));
    if (preferred_lang)
      words.append(element("small", "", t("room.speaks", { language: languageName(preferred_lang) })));
    row.append(words);
    if (!isMe) row.append(this.#voiceSwitch(session_id, name));
    return row;
  }

  #voiceSwitch(id, name) {
    const button = element("button", "voice");
    button.type = "button";
    button.setAttribute("aria-pressed", String(this.#heard.has(id)));
    button.setAttribute("aria-label", t("room.voice", { name }));
    button.append(icon("sound"), element("span", "", t("room.voice.short")));
    button.addEventListener("click", () => this.#setHeard(id, !this.#heard.has(id)));
    return button;
  }

  // Signalling goes both ways or not at all: a member who wants our voice is not declined, only kept silent here.
  #setHeard(id, isHeard) {
    if (isHeard) this.#heard.add(id);
    else this.#heard.delete(id);
    const wish = isHeard || this.#isWantedBy(id);
    if (wish) this.#declined.delete(id);
    else this.#declined.add(id);
    if (isHeard || !wish) this.#tellPreference(id, wish);
    this.#syncVoices();
    this.render();
  }

  #isWantedBy(id) {
    const member = this.#members.find(({ session_id }) => session_id === id);
    return member?.raw_voice_preferences?.[this.#talk?.session.id] === true;
  }

  #tellPreference(id, isHeard) {
    this.#talk?.session.say({
      type: "room_raw_voice_preference",
      room_code: this.#code,
      target_session_id: id,
      receive_raw_voice: isHeard,
    });
  }

  async #copyLink() {
    const link = new URL(location.pathname, location.href);
    link.searchParams.set("room", this.#code);
    await navigator.clipboard?.writeText(link.href).catch(() => {});
    this.#notice.show(`${t("room.copied")}: ${link.href}`, "good");
  }

  #leave() {
    this.#talk?.session.say({ type: "room_leave", room_code: this.#code });
    this.#onLeave();
  }

  // ------------------------------------------------------------------------------------ messages

  #onMessage(message) {
    switch (message.type) {
      case "room_create_ack":
        this.#code = message.room_code;
        break;
      case "room_members":
        this.#onMembers(message);
        break;
      case "room_error":
        this.#onError(message);
        break;
      case "room_expired":
        this.#notice.show(t("room.expired"), "warning");
        this.#onLeave();
        break;
      case "webrtc_offer":
      case "webrtc_answer":
      case "webrtc_ice":
        this.#voices.onMessage(message);
        break;
      default: // for newer pages
    }
  }

  #onError({ code }) {
    if (this.#isIn && code === "UNAUTHORIZED") return; // a member declined our voice: theirs to decide
    this.#notice.show(t(`error.${code}`), "warning");
    if (!this.#isIn) this.#onLeave();
  }

  #onMembers({ room_code, members }) {
    const me = this.#talk?.session.id;
    const known = new Set(this.#members.map(({ session_id }) => session_id));
    for (const one of members) this.#names.set(one.session_id, one.display_name || t("room.guest"));
    if (this.#isIn) this.#tellComings(known, members);
    this.#code = room_code;
    this.#isIn = members.some(({ session_id }) => session_id === me);
    this.#isBusy = false;
    this.#members = members;
    this.#syncVoices();
    this.render();
  }

  #tellComings(known, members) {
    const present = new Set(members.map(({ session_id }) => session_id));
    const come = members.find(({ session_id }) => !known.has(session_id));
    const gone = [...known].find((id) => !present.has(id));
    if (come) this.#notice.show(t("room.joined", { name: this.#names.get(come.session_id) }), "good");
    else if (gone) this.#notice.show(t("room.left", { name: this.#names.get(gone) }), "good");
  }

  // Links to all whose voice is wanted here and to all who want ours.
  #syncVoices() {
    const me = this.#talk?.session.id;
    if (!me || !this.#isIn) return;
    const ids = this.#members.map(({ session_id }) => session_id).filter((id) => id !== me);
    for (const id of ids.filter((one) => this.#declined.has(one) && this.#isWantedBy(one))) {
      this.#declined.delete(id);
      this.#tellPreference(id, true);
    }
    const linked = ids.filter((id) => this.#heard.has(id) || this.#isWantedBy(id));
    this.#voices.sync(me, { linked, heard: this.#heard, track: this.#track });
  }
}

function field(id, label, value, attributes) {
  const made = element("label", "field");
  const input = Object.assign(element("input"), { id, value, ...attributes });
  made.append(element("span", "", label), input);
  return made;
}
