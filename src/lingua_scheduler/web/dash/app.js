// The dashboards: one page with five faces, fed by one stream.

import { byId, element } from "../page/dom.js";
import { pageLanguage } from "../page/i18n.js";
import { keepOperatorToken, operatorToken } from "./acts.js";
import { ClusterView } from "./cluster.js";
import { ComputeView } from "./compute.js";
import { openDialog } from "./dialog.js";
import { Feed } from "./feed.js";
import { button, setText } from "./kit.js";
import { LanguagesView } from "./languages.js";
import { ModelsView } from "./models.js";
import { OverviewView } from "./overview.js";
import { d, keep, settings, span, speak } from "./words.js";

const VIEWS = {
  dashboard: OverviewView,
  cluster: ClusterView,
  "compute-power": ComputeView,
  models: ModelsView,
  languages: LanguagesView,
};
const STALE_MS = 8000;

const feed = new Feed();
let view;

function pageName() {
  const name = location.pathname.replace(/^\/|\/$/g, "");
  return name in VIEWS ? name : "dashboard";
}

// Build the page of the address anew, in the reader's language.
function show() {
  const name = pageName();
  document.title = d("title", { page: d(`page.${name}`) });
  for (const link of byId("nav").querySelectorAll("a")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  byId("nav").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  view = new VIEWS[name](feed);
  byId("view").replaceChildren(element("h1", "unseen", d(`page.${name}`)), view.root);
  refresh();
}

function refresh() {
  const [state, text] = stateOf();
  byId("state").dataset.state = state;
  setText(byId("state-text"), text);
  document.body.dataset.control = feed.tick?.may_control === false ? "no" : "yes";
  if (feed.tick) view.update(feed);
}

function stateOf() {
  if (feed.refusal) return ["failed", feed.refusal];
  if (!feed.tick) return feed.isOpen ? ["connecting", d("state.connecting")] : ["away", d("state.connecting")];
  if (!feed.isOpen) return ["away", d("state.away")];
  if (!feed.tick.is_store_up || feed.ageMs > STALE_MS) return ["failed", d("state.store", { span: span(feed.ageMs) })];
  return feed.tick.is_draining ? ["away", d("state.draining")] : ["listening", d("state.live")];
}

function fillFrame() {
  const labels = { nav: "nav", key: "key.open", theme: "theme", tongue: "tongue.label", "notice-close": "close" };
  for (const [id, key] of Object.entries(labels)) {
    byId(id).setAttribute("aria-label", d(key));
    if (id !== "nav") byId(id).title = d(key);
  }
  byId("tongue").textContent = d("tongue");
  byId("tongue").lang = pageLanguage() === "zh" ? "en" : "zh";
  byId("skip").textContent = d("skip");
  byId("brand").title = d("brand");
  byId("nav").replaceChildren(
    ...Object.keys(VIEWS).map((name) => {
      const link = element("a", "", d(`page.${name}`));
      link.href = `/${name}`;
      link.dataset.page = name;
      return link;
    }),
  );
}

function listen() {
  byId("nav").addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", `${link.pathname}${location.search}`);
    show();
    scrollTo(0, 0);
  });
  addEventListener("popstate", show);
  byId("tongue").addEventListener("click", () => {
    const language = pageLanguage() === "zh" ? "en" : "zh";
    keep({ language });
    speak(language);
    fillFrame();
    show();
  });
  byId("theme").addEventListener("click", () => {
    const isDark = getComputedStyle(document.documentElement).colorScheme === "dark";
    keep({ theme: isDark ? "light" : "dark" });
    document.documentElement.dataset.theme = isDark ? "light" : "dark";
  });
  byId("key").addEventListener("click", openKey);
  byId("notice-close").addEventListener("click", () => (byId("notice").hidden = true));
  addEventListener("notice", ({ detail }) => {
    byId("notice").hidden = false;
    byId("notice").dataset.tone = detail.tone;
    byId("notice-text").textContent = detail.text;
  });
  feed.addEventListener("change", refresh);
}

function openKey() {
  const label = element("label");
  const input = element("input");
  input.type = "password";
  input.autocomplete = "off";
  input.value = operatorToken();
  label.append(element("span", "", d("key.label")), input);
  const dialog = openDialog(d("key.title"), element("p", "quiet", d("key.about")), label);
  dialog.foot.append(
    button(d("key.save"), () => {
      keepOperatorToken(input.value.trim());
      dialog.close();
      feed.restart();
    }, "plain strong"),
  );
}

document.documentElement.dataset.theme = settings().theme ?? "auto";
document.documentElement.dataset.size = settings().size ?? "normal";
speak();
fillFrame();
listen();
show();
feed.begin();
