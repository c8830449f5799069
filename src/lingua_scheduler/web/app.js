// The page: one talk at a time, wired to what is shown.
//
// The address may choose: `?from=en&to=pt` the languages, `mode=two_way_auto`, `lang=zh` the page's language,
// `room=123456` a room to join, `mic=raw` a microphone without the browser's processing, `audio=pcm16` no compression.

import { keepAwake } from "./page/awake.js";
import { ConversationView, seconds } from "./page/conversation.js";
import { byId, saveFile } from "./page/dom.js";
import { exportTranscript } from "./page/exports.js";
import { hasWords, languageName, pageLanguage, t } from "./page/i18n.js";
import { Languages } from "./page/languages.js";
import { Notice } from "./page/notice.js";
import { Settings } from "./page/settings.js";
import { Transcript } from "./page/transcript.js";
import { RoomPanel } from "./rooms/panel.js";
import { chooseFormat } from "./sound/opus.js";
import { Player } from "./sound/player.js";
import { Talk } from "./talk.js";

const REFRESH_MS = 10_000;
const asked = new URLSearchParams(location.search);
const settings = new Settings(asked.get("lang"));
const transcript = new Transcript();
const player = new Player();
const notice = new Notice();
let talk = null; // the Talk under way
let mode = "one_way";
let isServed = true;
let format = "pcm16"; // until the browser has said what it can

settings.begin();
const languages = new Languages(byId("from"), byId("to"), {
  from: asked.get("from") ?? settings.get("from"),
  to: asked.get("to") ?? settings.get("to"),
});
const conversation = new ConversationView(transcript, { onReplay: replay });
const room = new RoomPanel(byId("room"), {
  settings,
  code: asked.get("room"),
  onEnter: enterRoom,
  onLeave: () => talk?.stop(),
  notice,
});

// ---------------------------------------------------------------------------------------- talks

async function begin(start) {
  notice.clear();
  player.unlock();
  const made = new Talk(makePlan(), transcript, player);
  talk = made;
  for (const type of ["change", "open"]) made.addEventListener(type, show);
  made.addEventListener("level", ({ detail }) => showLevel(detail.value));
  made.addEventListener("latency", ({ detail }) => showLatency(detail.ms));
  made.addEventListener("notice", ({ detail }) => tell(detail));
  made.addEventListener("end", ({ detail }) => onEnd(made, detail.error));
  conversation.setColumns({ mode, from: languages.from, to: languages.to });
  show();
  try {
    const started = start(made);
    made.open();
    await started;
  } catch (error) {
    tellMicrophone(error);
    if (!error.key) console.error(error);
    if (mode !== "room") await made.abandon();
  }
}

function makePlan() {
  const { from, to } = languages;
  return {
    mode,
    from,
    to,
    format,
    processing: asked.get("mic") !== "raw",
    deviceId: settings.get("device", ""),
    token: settings.token,
    platform: `web-${pageLanguage()}`,
    isAloud: () => byId("aloud").checked,
  };
}

function onEnd(made, error) {
  if (talk !== made) return;
  talk = null;
  room.left();
  show(made.state);
  if (error?.code === "UNAUTHORIZED") settings.askForToken();
}

function enterRoom(enter) {
  return begin((made) => {
    made.memberName = (id) => room.nameOf(id);
    made.isForOthers = () => room.hasOthers;
    room.attach(made);
    enter();
  });
}

async function toggleMicrophone() {
  if (talk === null) {
    if (mode === "room") room.askForCode();
    else await begin((made) => made.listen());
  } else if (mode !== "room") {
    await talk.stop();
  } else if (talk.hasMicrophone) {
    talk.pause();
  } else {
    await talk.listen().catch(tellMicrophone);
    room.attachTrack(talk.recorder.track);
  }
}

function tellMicrophone(error) {
  tell({ key: error.key ?? "trouble.microphone", tone: "error" });
}

async function changeMicrophone() {
  if (!talk?.hasMicrophone) return;
  await talk.changeMicrophone(settings.get("device", "")).catch(tellMicrophone);
  room.attachTrack(talk?.recorder.track ?? null);
}

function replay(entry) {
  const speaks = talk ?? { play: (one) => player.replay(one.speech, (state) => transcript.sound(one, state)) };
  speaks.play(entry, { isReplay: true });
}

// ---------------------------------------------------------------------------------------- what is shown

function show(ended) {
  const state = talk?.state ?? (ended === "failed" ? "failed" : "idle");
  const isOn = talk !== null && (mode === "room" ? talk.isListening : talk.isTakingSound);
  const shown = mode === "room" && state === "paused" ? "muted" : state;
  byId("state").dataset.state = state;
  byId("state-text").textContent = t(`state.${shown}`, { percent: talk?.percent ?? 0 });
  document.body.dataset.state = state;
  const microphone = byId("microphone");
  microphone.setAttribute("aria-pressed", String(isOn));
  microphone.setAttribute("aria-busy", String(state === "connecting" || state === "finishing"));
  microphone.setAttribute("aria-label", t(isOn ? "microphone.stop" : "microphone.start"));
  microphone.disabled = state === "finishing";
  byId("microphone-icon").setAttribute("href", isOn && mode !== "room" ? "#i-stop" : "#i-mic");
  const isPaused = state === "paused" && mode !== "room";
  byId("pause").disabled = mode === "room" || !(talk?.hasMicrophone && talk.isTakingSound);
  byId("pause").setAttribute("aria-pressed", String(isPaused));
  byId("pause").setAttribute("aria-label", t(isPaused ? "resume" : "pause"));
  byId("pause").title = t(isPaused ? "resume" : "pause");
  byId("pause-icon").setAttribute("href", isPaused ? "#i-play" : "#i-pause");
  byId("send").disabled = !talk?.isListening;
  byId("upload").disabled = talk !== null || mode === "room";
  for (const one of document.querySelectorAll("#modes input")) one.disabled = talk !== null;
  languages.disabled = talk !== null;
  byId("swap").disabled = talk !== null || !languages.canSwap;
  showTools();
  keepAwake(talk !== null);
}

function showTools() {
  const isEmpty = !transcript.entries.some(({ kind }) => ["result", "missing", "said"].includes(kind));
  byId("download").disabled = isEmpty;
  byId("clear").disabled = isEmpty || talk !== null;
}

function showLevel(value) {
  byId("level").value = value;
  byId("ring").style.setProperty("--level", value.toFixed(3));
}

function showLatency(ms) {
  byId("latency").hidden = false;
  byId("latency").title = t("late.latest");
  byId("latency-text").textContent = seconds(ms);
}

function showQueue() {
  byId("skip-speech").hidden = !player.isPlaying;
  byId("queued").textContent = player.waiting > 0 ? String(player.waiting) : "";
  document.body.dataset.speaking = String(player.isPlaying);
}

function tell({ key, values = {}, tone }) {
  const named = { ...values };
  if (key === "trouble.noPair") [named.from, named.to] = [languageName(values.from), languageName(values.to)];
  notice.show(hasWords(key) ? t(key, named) : (values.message ?? key), tone);
}

function setMode(next) {
  mode = next;
  document.querySelector(`#modes input[value="${next}"]`).checked = true;
  document.body.dataset.mode = next;
  languages.isTwoWay = next === "two_way_auto";
  const words = { one_way: ["from", "to"], two_way_auto: ["a", "b"], room: ["from", "hear"] }[next];
  byId("from-label").dataset.t = `languages.${words[0]}`;
  byId("to-label").dataset.t = `languages.${words[1]}`;
  room.isShown = next === "room";
  rename();
}

// Everything that is not in the document's own words.
function rename() {
  for (const id of ["from-label", "to-label"]) byId(id).textContent = t(byId(id).dataset.t);
  languages.rename();
  conversation.setColumns({ mode, from: languages.from, to: languages.to });
  conversation.refresh();
  room.render();
  show();
}

async function refreshLanguages() {
  if (talk === null && document.visibilityState === "visible") {
    const wasServed = isServed;
    isServed = await languages.refresh();
    if (!isServed && wasServed) notice.show(t("languages.none"), "quiet");
    if (isServed && !wasServed) notice.clear();
    if (talk === null) {
      conversation.setColumns({ mode, from: languages.from, to: languages.to });
      byId("swap").disabled = !languages.canSwap;
    }
  }
  setTimeout(refreshLanguages, REFRESH_MS);
}

// ---------------------------------------------------------------------------------------- what a person does

// Space, Enter and Shift+Space: no letters, which people who steer by voice would set off.
function workOf({ code, shiftKey }) {
  if (code === "Space" && shiftKey) return mode === "room" ? toggleMicrophone : () => talk?.pause();
  if (code === "Space") return toggleMicrophone;
  return code === "Enter" && talk?.isListening ? () => talk.sendNow() : null;
}

// A focused control keeps its own keys; the microphone's are ours.
function isOurs(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  if (event.target.id === "microphone") return event.code === "Enter" || event.shiftKey;
  return !event.target.closest("select, input, textarea, button, a, dialog");
}

function onKey(event) {
  if (event.code === "Escape") closeMenu();
  const work = workOf(event);
  if (!work || !isOurs(event)) return;
  event.preventDefault();
  if (event.type === "keydown" && !event.repeat) work();
}

function closeMenu() {
  byId("downloads").hidden = true;
  byId("download").setAttribute("aria-expanded", "false");
}

function onLanguageChosen() {
  settings.set("from", languages.from);
  settings.set("to", languages.to);
  conversation.setColumns({ mode, from: languages.from, to: languages.to });
  show();
}

function sendFile(file) {
  if (file && talk === null && mode !== "room") begin((made) => made.sendFile(file));
}

function listenToControls() {
  const on = (id, type, work) => byId(id).addEventListener(type, work);
  on("microphone", "click", toggleMicrophone);
  on("pause", "click", () => talk?.pause());
  on("send", "click", () => talk?.sendNow());
  on("swap", "click", () => {
    languages.swap();
    onLanguageChosen();
  });
  on("languages", "change", onLanguageChosen);
  on("modes", "change", ({ target }) => {
    settings.set("mode", target.value);
    setMode(target.value);
  });
  on("aloud", "change", ({ target }) => {
    settings.set("aloud", target.checked);
    if (!target.checked) player.stop();
  });
  on("speed", "change", ({ target }) => {
    settings.set("speed", target.value);
    player.speed = target.value;
  });
  on("skip-speech", "click", () => player.skip());
  on("upload", "click", () => byId("file").click());
  on("file", "change", ({ target }) => {
    sendFile(target.files[0]);
    target.value = "";
  });
  on("clear", "click", () => {
    player.stop();
    transcript.clear();
    conversation.setColumns({ mode, from: languages.from, to: languages.to });
    show();
  });
  on("download", "click", () => {
    byId("downloads").hidden = !byId("downloads").hidden;
    byId("download").setAttribute("aria-expanded", String(!byId("downloads").hidden));
  });
  on("downloads", "click", ({ target }) => {
    const format = target.dataset.format;
    if (!format) return;
    saveFile(exportTranscript(transcript.entries, format, { startedAt: transcript.startedAt }));
    closeMenu();
  });
  document.addEventListener("click", ({ target }) => target.closest(".menu") || closeMenu());
  document.addEventListener("keydown", onKey);
  document.addEventListener("keyup", onKey); // a button is pressed by letting Space go
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    sendFile(event.dataTransfer?.files[0]);
  });
}

function listenToParts() {
  settings.addEventListener("language", rename);
  settings.addEventListener("device", changeMicrophone);
  player.addEventListener("change", showQueue);
  player.addEventListener(
    "trouble",
    ({ detail }) => detail.isRefused && tell({ key: "trouble.autoplay", tone: "warning" }),
  );
  transcript.addEventListener("change", showTools);
  transcript.addEventListener("gone", showTools);
}

listenToControls();
listenToParts();
byId("aloud").checked = settings.get("aloud", true);
byId("speed").value = settings.get("speed", "auto");
player.speed = byId("speed").value;
setMode(asked.get("room") ? "room" : (asked.get("mode") ?? settings.get("mode", "one_way")));
refreshLanguages();
chooseFormat(asked.get("audio")).then((chosen) => (format = chosen));
