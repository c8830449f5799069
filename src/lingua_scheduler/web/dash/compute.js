// Compute power: what the fleet is made of and how busy each machine is.

import { element } from "../page/dom.js";
import { chip, meter, panel, setText, tile } from "./kit.js";
import { d, number, percent, word } from "./words.js";

const MACHINES_SHOWN = 120;
const BARS = [
  ["slots", (row) => row.current_jobs / Math.max(1, row.max_concurrent_jobs)],
  ["cpu", ({ loads }) => part(loads.cpu_percent)],
  ["mem", ({ loads }) => part(loads.mem_percent)],
  ["gpu", ({ loads }) => part(loads.gpu_percent)],
  ["gpuMem", ({ loads }) => part(loads.gpu_mem_percent)],
];

const part = (value) => (typeof value === "number" ? value / 100 : null);

export class ComputeView {
  root = element("div", "stack");
  #tiles = {};
  #grid = element("ul", "machines");
  #none = element("p", "nothing", d("compute.none"));
  #more = element("p", "nothing");
  #cards = new Map();

  constructor() {
    const tiles = element("div", "tiles");
    for (const name of ["slots", "cpu", "memory", "gpus"]) {
      this.#tiles[name] = tile(d(`compute.${name}`));
      tiles.append(this.#tiles[name]);
    }
    this.root.append(tiles, panel(d("compute.title"), this.#grid, this.#none, this.#more));
  }

  update({ parts: { stats, nodes } }) {
    if (stats) this.#fillTiles(stats.nodes.compute_power);
    if (nodes) this.#fillCards(nodes);
  }

  #fillTiles(power) {
    const used = (value) => (value === null ? d("compute.unknown") : d("compute.inUse", { percent: percent(value / 100) }));
    const gpus = Object.entries(power.gpu_models).map(([name, count]) => (count > 1 ? `${count} × ${name}` : name));
    const slots = power.slots ? power.slots_taken / power.slots : 0;
    this.#tiles.slots.set(number(power.slots), d("compute.inUse", { percent: percent(slots) }), slots);
    this.#tiles.cpu.set(number(power.cpu_cores), used(power.cpu_percent), part(power.cpu_percent));
    this.#tiles.memory.set(`${number(power.memory_gb)} GB`, used(power.mem_percent), part(power.mem_percent));
    this.#tiles.gpus.set(number(power.gpus), gpus.join(", ") || "–", part(power.gpu_percent));
  }

  #fillCards({ nodes, total }) {
    const rows = [...nodes].sort((a, b) => busy(b) - busy(a) || a.node_id.localeCompare(b.node_id)).slice(0, MACHINES_SHOWN);
    this.#none.hidden = rows.length > 0;
    this.#more.hidden = total <= rows.length;
    setText(this.#more, d("compute.more", { n: number(total - rows.length) }));
    const kept = new Map();
    rows.forEach((row, at) => {
      const card = this.#cards.get(row.node_id) ?? makeCard();
      kept.set(row.node_id, card);
      card.set(row);
      if (this.#grid.children[at] !== card) this.#grid.insertBefore(card, this.#grid.children[at] ?? null);
    });
    for (const [id, card] of this.#cards) if (!kept.has(id)) card.remove();
    this.#cards = kept;
  }
}

// In steps, so that cards do not change places with every breath of a processor.
function busy({ loads, current_jobs, max_concurrent_jobs }) {
  return Math.round(Math.max(loads.reported, current_jobs / Math.max(1, max_concurrent_jobs)) * 5);
}

function makeCard() {
  const card = element("li", "machine");
  const head = element("div", "machine-head");
  const name = element("h3");
  const standing = element("span");
  const hardware = element("p", "quiet");
  head.append(name, standing);
  const bars = BARS.map(([key, of]) => {
    const row = element("div", "bar-row");
    const bar = meter(d(`bar.${key}`));
    const value = element("span", "gauge-text");
    row.append(element("span", "", d(`bar.${key}`)), bar, value);
    return { row, bar, value, of, key };
  });
  card.append(head, hardware, ...bars.map(({ row }) => row));
  card.set = (node) => {
    setText(name, node.node_id);
    const tone = node.status === "ready" ? "good" : node.status === "suspect" ? "bad" : "warn";
    if (standing.textContent !== word("status", node.status)) standing.replaceChildren(chip(word("status", node.status), tone));
    setText(hardware, described(node));
    for (const { row, bar, value, of, key } of bars) {
      const share = of(node);
      row.hidden = share === null;
      if (share === null) continue;
      bar.set(share);
      setText(value, key === "slots" ? `${node.current_jobs} / ${node.max_concurrent_jobs}` : percent(share));
    }
  };
  return card;
}

function described({ hardware, zone }) {
  const cores = d("compute.hardware", { cores: hardware.cpu_cores ?? "?", memory: number(hardware.memory_gb, 1) });
  const gpus = (hardware.gpus ?? []).map(({ name, memory_gb }) => `${name} ${number(memory_gb)} GB`);
  return [cores, ...gpus, zone].filter(Boolean).join(" · ");
}
