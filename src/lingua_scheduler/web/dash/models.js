// Models and services: what is installed in the fleet, and on how many nodes.

import { element } from "../page/dom.js";
import { chip, panel, Table, tile } from "./kit.js";
import { d, number, word } from "./words.js";

export class ModelsView {
  root = element("div", "stack");
  #tiles = element("div", "tiles");
  #byType = new Map();
  #services = new Table(d("models.services"), [
    { label: d("col.type"), text: ({ type }) => word("type", type) },
    { label: d("col.service"), text: ({ service_id }) => service_id, className: "id" },
    {
      label: d("col.status"), sign: ({ status }) => status,
      node: ({ status }) => (status ? chip(status, status === "running" ? "good" : "warn") : document.createTextNode("–")),
    },
    { label: d("col.device"), text: ({ device }) => device || "–" },
    { label: d("col.version"), text: ({ version }) => version || "–" },
    { label: d("col.on"), text: ({ nodes }) => number(nodes), isNumber: true },
  ], ({ type, service_id, device, version, status }) => [type, service_id, device, version, status].join("\n"), d("models.none"));
  #models = new Table(d("models.models"), [
    { label: d("col.kind"), text: ({ kind }) => word("type", kind) },
    { label: d("col.model"), text: ({ model_id }) => model_id, className: "id" },
    { label: d("col.pair"), text: ({ src, tgt }) => [src, tgt].filter(Boolean).join(" → ") || "–" },
    { label: d("col.version"), text: ({ version }) => version || "–" },
    { label: d("col.on"), text: ({ nodes }) => number(nodes), isNumber: true },
  ], ({ kind, model_id, src, tgt, version }) => [kind, model_id, src, tgt, version].join("\n"), d("models.none"));

  constructor() {
    this.root.append(this.#tiles, panel(d("models.services"), this.#services.root), panel(d("models.models"), this.#models.root));
  }

  update({ parts: { stats, models } }) {
    if (stats) this.#fillTiles(stats.nodes);
    if (!models) return;
    this.#services.update(models.services);
    this.#models.update(models.models);
  }

  #fillTiles({ type_node_counts, type_in_use_counts }) {
    const types = [...new Set(["asr", "nmt", "tts", ...Object.keys(type_node_counts)])];
    for (const type of types) {
      if (!this.#byType.has(type)) {
        const made = tile(word("type", type));
        this.#byType.set(type, made);
        this.#tiles.append(made);
      }
      const count = type_node_counts[type] ?? 0;
      const busy = type_in_use_counts[type] ?? 0;
      this.#byType.get(type).set(number(count), d("models.types.detail", { n: number(busy) }), count ? busy / count : null, count ? "" : "warn");
    }
  }
}
