// The overview: how the fleet is, how it has been for ten minutes, what happened last.

import { element } from "../page/dom.js";
import { languageName } from "../page/i18n.js";
import { TimeChart } from "./charts.js";
import { button, chip, meter, panel, setText, Table, tile } from "./kit.js";
import { openStory } from "./story.js";
import { ago, d, duration, number, percent, time, word } from "./words.js";

const SHOWN = { wide: { events: 9, jobs: 25 }, narrow: { events: 5, jobs: 8 } };
const narrow = matchMedia("(max-width: 46rem)");
const TONES = { node_lost: "bad", instance_lost: "bad", node_joined: "good", instance_joined: "good", node_status: "warn" };

export class OverviewView {
  root = element("div", "stack");
  #tiles = {};
  #charts = charts();
  #events;
  #jobs;
  #top = element("ul", "tops");
  #topNone = element("p", "nothing", d("top.none"));

  constructor() {
    const tiles = element("div", "tiles");
    for (const name of ["sessions", "nodes", "slots", "waiting", "latency", "failovers"]) {
      this.#tiles[name] = tile(d(`tile.${name}`));
      tiles.append(this.#tiles[name]);
    }
    const graphs = element("div", "pairs");
    graphs.append(...this.#charts.map(({ root }) => root));
    this.#events = eventTable();
    this.#jobs = jobTable();
    const jobs = panel(d("jobs.title"), this.#jobs.root);
    jobs.head.append(searchForm());
    const sides = element("div", "sides");
    sides.append(panel(d("events.title"), this.#events.root), panel(d("top.title"), this.#top, this.#topNone));
    this.root.append(tiles, graphs, sides, jobs);
  }

  update(feed) {
    const { stats, cluster, nodes, metrics, jobs } = feed.parts;
    const newest = feed.samples.at(-1);
    const shown = narrow.matches ? SHOWN.narrow : SHOWN.wide;
    for (const chart of this.#charts) chart.update(feed.samples, feed.nowMs);
    if (metrics && cluster && nodes) this.#fillTiles(feed, metrics, nodes, newest);
    this.#events.update(feed.events.slice(0, shown.events).map((one) => ({ ...one, nowMs: feed.nowMs })));
    if (jobs) this.#jobs.update(jobs.jobs.slice(0, shown.jobs));
    if (stats) this.#fillTop(stats.web_clients.top_languages);
  }

  #fillTiles(feed, metrics, nodes, newest) {
    const ready = nodes.total - nodes.nodes.filter(({ status }) => status !== "ready").length;
    const odd = nodes.total - ready;
    const latency = newest?.stages.total;
    const sum = (name) => feed.samples.reduce((all, sample) => all + sample[name], 0);
    const failovers = sum("failovers");
    const share = metrics.slots ? metrics.slots_taken / metrics.slots : 0;
    const nodesText = nodes.total === 0 ? d("tile.nodes.none") : odd ? d("tile.nodes.detail", { n: odd }) : d("tile.nodes.fine");
    this.#tiles.sessions.set(number(metrics.sessions_open), d("tile.sessions.detail", { n: number(metrics.clients_connected) }));
    this.#tiles.nodes.set(number(ready), nodesText, null, odd || nodes.total === 0 ? "warn" : "");
    this.#tiles.slots.set(number(metrics.slots_taken), d("tile.slots.detail", { n: number(metrics.slots) }), share);
    this.#tiles.waiting.set(
      number(metrics.jobs_waiting), d("tile.waiting.detail", { n: number(metrics.jobs_open) }), null,
      metrics.jobs_waiting ? "warn" : "",
    );
    this.#tiles.latency.set(
      latency ? duration(latency[1]) : "–",
      latency ? d("tile.latency.detail", { p50: duration(latency[0]) }) : d("tile.latency.none"),
    );
    const sentences = sum("finished") + sum("missing");
    this.#tiles.failovers.set(
      number(failovers), d("tile.failovers.detail", { n: number(sentences) }), null, failovers ? "warn" : "",
    );
  }

  #fillTop(rows) {
    this.#topNone.hidden = rows.length > 0;
    const most = Math.max(1, ...rows.map(({ count }) => count));
    while (this.#top.children.length > rows.length) this.#top.lastChild.remove();
    rows.forEach(({ language, count }, at) => {
      let item = this.#top.children[at];
      if (!item) {
        item = element("li");
        item.append(element("span"), meter(d("top.title")), element("b"));
        this.#top.append(item);
      }
      const [name, bar, value] = item.children;
      setText(name, languageName(language));
      bar.setAttribute("aria-label", languageName(language));
      bar.set(count / most);
      bar.dataset.level = "calm";
      setText(value, number(count));
    });
  }
}

function charts() {
  const stage = (name, at) => ({ stages }) => stages[name]?.[at] ?? null;
  return [
    new TimeChart(d("chart.latency"), [
      { name: d("chart.latency.p95"), tone: 1, kind: "area", of: stage("total", 1) },
      { name: d("chart.latency.p50"), tone: 2, kind: "line", of: stage("total", 0) },
    ], { format: duration, least: 1000 }),
    new TimeChart(d("chart.load"), [
      { name: d("chart.load.slots"), tone: 1, kind: "area", of: ({ load }) => load },
      { name: d("chart.load.cpu"), tone: 3, kind: "line", of: ({ cpu }) => cpu },
    ], { format: percent, ceiling: 1 }),
    new TimeChart(d("chart.stages"), ["scheduler", "node", "asr", "nmt", "tts"].map((name, at) => (
      { name: d(`stage.${name}`), tone: at + 1, kind: "line", of: stage(name, 1) }
    )), { format: duration, least: 1000 }),
    new TimeChart(d("chart.queue"), [
      { name: d("chart.queue.open"), tone: 1, kind: "area", of: ({ jobs_open }) => jobs_open },
      { name: d("chart.queue.waiting"), tone: 4, kind: "line", of: ({ waiting }) => waiting },
    ], { format: (value) => number(value, 1) }),
    new TimeChart(d("chart.failovers"), [
      { name: d("chart.failovers.finished"), tone: 6, kind: "bar", of: ({ finished }) => finished },
      { name: d("chart.failovers.missing"), tone: 3, kind: "bar", of: ({ missing }) => missing },
      { name: d("chart.failovers.retries"), tone: 4, kind: "bar", of: ({ failovers }) => failovers },
    ], { format: (value) => number(value, 1) }),
    new TimeChart(d("chart.people"), [
      { name: d("chart.people.sessions"), tone: 1, kind: "area", of: ({ sessions }) => sessions },
      { name: d("chart.people.nodes"), tone: 2, kind: "line", of: ({ nodes }) => nodes },
    ], { format: (value) => number(value, 1) }),
  ];
}

function eventTable() {
  const told = ({ kind, detail }) => d(`events.${kind}`, { detail: word("status", detail) });
  return new Table(d("events.title"), [
    { label: d("col.when"), text: ({ at_ms, nowMs }) => ago(nowMs - at_ms), className: "quiet" },
    { label: d("col.status"), node: (row) => chip(told(row), TONES[row.kind]), sign: told },
    { label: d("col.node"), text: ({ who }) => who, className: "id" },
  ], ({ at_ms, kind, who }) => `${at_ms} ${kind} ${who}`, d("none"), { stays: true });
}

function jobTable() {
  return new Table(d("jobs.title"), [
    { label: d("col.when"), text: ({ at_ms }) => time(at_ms), className: "quiet" },
    {
      label: d("col.job"), className: "id", sign: ({ job_id }) => job_id,
      node: ({ job_id }) => storyButton(job_id),
    },
    { label: d("col.session"), text: ({ session }) => session, className: "id minor" },
    { label: d("col.pair"), text: ({ src, tgt }) => `${src} → ${tgt}` },
    {
      label: d("col.outcome"), sign: ({ outcome }) => outcome,
      node: ({ outcome }) => chip(word("outcome", outcome), outcome === "translated" ? "good" : "warn"),
    },
    { label: d("col.took"), text: ({ total_ms }) => duration(total_ms), isNumber: true },
    { label: d("col.attempts"), text: ({ attempt }) => (attempt ? number(attempt) : "–"), isNumber: true, className: "minor" },
    { label: d("col.node"), text: ({ node_id }) => node_id || "–", className: "id" },
  ], ({ job_id }) => job_id, d("jobs.none"));
}

// Ids name the session and are long: the end tells jobs of one session apart.
function storyButton(jobId) {
  const short = jobId.length > 24 ? `…${jobId.slice(-14)}` : jobId;
  const made = button(short, () => openStory(jobId), "link");
  made.title = jobId;
  return made;
}

function searchForm() {
  const form = element("form", "search");
  form.setAttribute("role", "search");
  const input = element("input");
  input.type = "search";
  input.placeholder = d("jobs.find");
  input.setAttribute("aria-label", d("jobs.find"));
  input.autocapitalize = "none";
  input.spellcheck = false;
  const go = element("button", "small", d("jobs.search"));
  form.append(input, go);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.value.trim()) openStory(input.value.trim());
  });
  return form;
}
