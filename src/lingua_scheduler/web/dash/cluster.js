// The cluster: instances with their inboxes, nodes that can be drained, sessions.

import { element } from "../page/dom.js";
import { askNode } from "./acts.js";
import { attempt } from "./dialog.js";
import { button, chip, gauge, panel, setText, shownOf, Table } from "./kit.js";
import { openLetters } from "./letters.js";
import { ago, d, number, percent, span, word } from "./words.js";

const STATUS_TONES = { ready: "good", degraded: "warn", draining: "warn", registering: "", suspect: "bad", offline: "bad", gone: "bad" };
const GONE_SHOWN_MS = 120_000;
const SESSIONS_SHOWN = { wide: 100, narrow: 12 };
const narrow = matchMedia("(max-width: 46rem)");

export class ClusterView {
  root = element("div", "stack");
  #feed;
  #instances;
  #nodes;
  #sessions;
  #filter = element("input");
  #nodesPanel;
  #sessionsPanel;
  #note = element("p", "readonly", d("readonly"));

  constructor(feed) {
    this.#feed = feed;
    this.#instances = instanceTable();
    this.#nodes = nodeTable();
    this.#sessions = sessionTable();
    this.#filter.type = "search";
    this.#filter.placeholder = d("nodes.filter");
    this.#filter.setAttribute("aria-label", d("nodes.filter"));
    this.#filter.addEventListener("input", () => this.#fillNodes(this.#feed));
    this.#nodesPanel = panel(d("nodes.title"), this.#note, this.#nodes.root);
    const search = element("div", "search");
    search.append(this.#filter);
    this.#nodesPanel.head.append(element("span", "count"), search);
    this.#sessionsPanel = panel(d("sessions.title"), this.#sessions.root);
    this.#sessionsPanel.head.append(element("span", "count"));
    this.root.append(panel(d("instances.title"), this.#instances.root), this.#nodesPanel, this.#sessionsPanel);
  }

  update(feed) {
    const { cluster, sessions } = feed.parts;
    this.#note.hidden = feed.tick.may_control;
    if (cluster) this.#instances.update(cluster.instances.map((row) => ({ ...row, here: feed.tick.instance_id })));
    this.#fillNodes(feed);
    if (sessions) {
      const shown = sessions.sessions.slice(0, narrow.matches ? SESSIONS_SHOWN.narrow : SESSIONS_SHOWN.wide);
      this.#sessions.update(shown);
      setText(this.#sessionsPanel.querySelector(".count"), shownOf(shown.length, sessions.total));
    }
  }

  // Those that were lost a moment ago stay to be seen.
  #fillNodes(feed) {
    const { nodes } = feed.parts;
    if (!nodes) return;
    const here = new Set(nodes.nodes.map(({ node_id }) => node_id));
    const gone = new Map();
    for (const { kind, who, at_ms } of nodes.total > nodes.nodes.length ? [] : feed.events) {
      const isShown = kind === "node_lost" && !here.has(who) && !gone.has(who) && feed.nowMs - at_ms < GONE_SHOWN_MS;
      if (isShown) gone.set(who, { node_id: who, status: "gone", last_heartbeat: at_ms, tone: "gone" });
    }
    const wanted = this.#filter.value.trim().toLowerCase();
    const rows = [...gone.values(), ...nodes.nodes].filter((row) => fits(row, wanted));
    this.#nodes.update(rows.map((row) => ({ ...row, nowMs: feed.nowMs, mayControl: feed.tick.may_control })));
    const none = d(nodes.total === 0 ? "nodes.none" : "nodes.nomatch");
    setText(this.#nodes.root.querySelector(".nothing"), none);
    setText(this.#nodesPanel.querySelector(".count"), shownOf(Math.min(rows.length, nodes.total), nodes.total));
  }
}

function fits({ node_id, status, instance_id = "", capabilities = [] }, wanted) {
  return [node_id, status, word("status", status), instance_id, ...capabilities].some((text) => text.toLowerCase().includes(wanted));
}

function instanceTable() {
  const standing = ({ is_online, is_draining }) => (is_online ? (is_draining ? "draining" : "online") : "gone");
  const tones = { online: "good", draining: "warn", gone: "bad" };
  return new Table(d("instances.title"), [
    {
      label: d("col.instance"), className: "id", sign: ({ instance_id, here }) => `${instance_id} ${here}`,
      node: ({ instance_id, here }) => named(instance_id, instance_id === here ? d("instances.here") : ""),
    },
    { label: d("col.status"), sign: standing, node: (row) => chip(d(`instances.${standing(row)}`), tones[standing(row)]) },
    { label: d("col.host"), text: ({ hostname, pid }) => (hostname ? `${hostname} · ${pid}` : "–") },
    { label: d("col.version"), text: ({ version }) => version || "–", className: "minor" },
    { label: d("col.uptime"), text: ({ uptime_seconds, is_online }) => (is_online ? span(uptime_seconds * 1000) : "–"), isNumber: true },
    { label: d("col.nodes"), text: ({ nodes_owned }) => number(nodes_owned), isNumber: true },
    { label: d("col.sessions"), text: ({ sessions_owned }) => number(sessions_owned), isNumber: true },
    { label: d("col.inbox"), text: ({ inbox_length }) => number(inbox_length), isNumber: true },
    { label: d("col.pending"), text: ({ inbox_pending }) => number(inbox_pending), isNumber: true },
    {
      label: d("col.dlq"), isNumber: true, sign: ({ dlq_length }) => String(dlq_length),
      node: ({ instance_id, dlq_length }) => letterButton(instance_id, dlq_length),
    },
  ], ({ instance_id }) => instance_id);
}

function letterButton(instanceId, count) {
  if (count === 0) return document.createTextNode(number(0));
  const made = button(number(count), () => openLetters(instanceId), "small bad");
  made.setAttribute("aria-label", d("letters.open", { instance: instanceId, n: count }));
  return made;
}

function named(main, detail) {
  const made = element("span", "named");
  made.append(element("span", "", main));
  if (detail) made.append(element("small", "quiet", detail));
  return made;
}

function nodeTable() {
  const slots = ({ current_jobs, max_concurrent_jobs }) => `${current_jobs} / ${max_concurrent_jobs}`;
  const isGone = ({ status }) => status === "gone";
  return new Table(d("nodes.title"), [
    {
      label: d("col.node"), className: "id", sign: ({ node_id, version, zone }) => `${node_id} ${version} ${zone}`,
      node: ({ node_id, zone, version, platform }) => named(node_id, [zone, platform, version].filter(Boolean).join(" · ")),
    },
    {
      label: d("col.status"), sign: ({ status }) => status,
      node: ({ status }) => chip(word("status", status), STATUS_TONES[status]),
    },
    {
      label: d("col.slots"), sign: (row) => (isGone(row) ? "" : slots(row)),
      node: (row) => (isGone(row) ? dash() : gauge(d("col.slots"), row.current_jobs / Math.max(1, row.max_concurrent_jobs), slots(row))),
    },
    {
      label: d("col.load"), sign: (row) => (isGone(row) ? "" : percent(row.loads.reported)),
      node: (row) => (isGone(row) ? dash() : gauge(d("col.load"), row.loads.reported, percent(row.loads.reported))),
    },
    {
      label: d("col.services"), className: "minor", sign: ({ capabilities = [] }) => capabilities.join(" "),
      node: ({ capabilities = [] }) => chips(capabilities),
    },
    { label: d("col.instance"), text: ({ instance_id }) => instance_id ?? "–", className: "id minor" },
    { label: d("col.heartbeat"), text: ({ last_heartbeat, nowMs }) => ago(nowMs - last_heartbeat), isNumber: true, className: "quiet" },
    { label: d("col.action"), sign: (row) => `${row.status} ${row.mayControl}`, node: controlButton },
  ], ({ node_id }) => node_id, d("nodes.none"));
}

const dash = () => document.createTextNode("–");

function chips(texts) {
  const made = element("span", "chips");
  made.append(...texts.map((text) => chip(text)));
  return made;
}

function controlButton({ node_id, status, mayControl }) {
  if (["gone", "offline", "registering"].includes(status)) return dash();
  const command = status === "draining" ? "resume" : "drain";
  const made = button(d(`node.${command}`), async () => {
    made.disabled = true;
    const done = d(command === "drain" ? "node.drained" : "node.resumed", { node: node_id });
    if (!(await attempt(() => askNode(node_id, command), done))) made.disabled = false;
  });
  made.disabled = !mayControl;
  made.setAttribute("aria-label", d(`node.${command}.label`, { node: node_id }));
  return made;
}

function sessionTable() {
  return new Table(d("sessions.title"), [
    { label: d("col.session"), text: ({ session }) => session, className: "id" },
    { label: d("col.pair"), text: ({ src_lang, tgt_lang, mode }) => `${src_lang} ${mode === "one_way" ? "→" : "↔"} ${tgt_lang}` },
    { label: d("col.mode"), text: ({ mode }) => word("mode", mode), className: "minor" },
    {
      label: d("col.status"), sign: ({ is_connected }) => String(is_connected),
      node: ({ is_connected }) => chip(d(is_connected ? "sessions.connected" : "sessions.away"), is_connected ? "good" : "warn"),
    },
    { label: d("col.open"), text: ({ jobs_open }) => number(jobs_open), isNumber: true },
    { label: d("col.platform"), text: ({ platform }) => platform, className: "minor" },
    { label: d("col.instance"), text: ({ instance_id }) => instance_id, className: "id minor" },
  ], ({ session, instance_id }) => `${instance_id} ${session}`, d("sessions.none"));
}
