// Languages: which directed pairs are served by how many nodes, and which are spoken now.

import { element } from "../page/dom.js";
import { languageName } from "../page/i18n.js";
import { panel, setText, Table } from "./kit.js";
import { d, number } from "./words.js";

const STEPS = 4;

export class LanguagesView {
  root = element("div", "stack");
  #scroll = element("div", "scroll matrix-scroll");
  #none = element("p", "nothing", d("languages.none"));
  #legend = element("p", "quiet legend-text", d("languages.legend"));
  #count = element("span", "count");
  #drawn = null;
  #use = new Table(d("languages.use"), [
    { label: d("col.language"), text: ({ code }) => `${languageName(code)} (${code})` },
    { label: d("col.spoken"), text: ({ as_source }) => number(as_source), isNumber: true },
    { label: d("col.wanted"), text: ({ as_target }) => number(as_target), isNumber: true },
    { label: d("col.total"), text: ({ total }) => number(total), isNumber: true },
  ], ({ code }) => code, d("top.none"), { stays: true });

  constructor() {
    this.#scroll.tabIndex = 0;
    this.#scroll.setAttribute("role", "region");
    this.#scroll.setAttribute("aria-label", d("languages.matrix"));
    const matrix = panel(d("languages.matrix"), this.#scroll, this.#none, this.#legend);
    matrix.head.append(this.#count);
    this.root.append(matrix, panel(d("languages.use"), this.#use.root));
    this.root.classList.replace("stack", "sides");
  }

  update({ parts: { stats, pools } }) {
    if (pools && pools !== this.#drawn) this.#draw((this.#drawn = pools));
    if (!stats) return;
    const rows = Object.entries(stats.web_clients.language_usage).map(([code, row]) => ({ code, ...row }));
    this.#use.update(rows.sort((a, b) => b.total - a.total || a.code.localeCompare(b.code)));
  }

  #draw({ pools, total }) {
    this.#none.hidden = pools.length > 0;
    this.#legend.hidden = this.#scroll.hidden = pools.length === 0;
    setText(this.#count, d("languages.pairs", { n: number(total) }));
    this.#scroll.replaceChildren(...(pools.length ? [matrix(pools)] : []));
  }
}

function matrix(pools) {
  const byPair = new Map(pools.map((pool) => [`${pool.src}:${pool.tgt}`, pool]));
  const names = (codes) => [...new Set(codes)].sort((a, b) => languageName(a).localeCompare(languageName(b)));
  const sources = names(pools.map(({ src }) => src));
  const targets = names(pools.map(({ tgt }) => tgt));
  const most = Math.max(1, ...pools.map(({ nodes }) => nodes));
  const table = element("table", "matrix");
  const head = element("tr");
  head.append(element("td", "corner quiet", d("languages.corner")), ...targets.map((code) => header(code, "col")));
  const body = element("tbody");
  for (const src of sources) {
    const line = element("tr");
    line.append(header(src, "row"), ...targets.map((tgt) => cell(src, tgt, byPair.get(`${src}:${tgt}`), most)));
    body.append(line);
  }
  const top = element("thead");
  top.append(head);
  table.append(element("caption", "unseen", d("languages.matrix")), top, body);
  return table;
}

function header(code, scope) {
  const made = element("th");
  made.scope = scope;
  made.append(element("span", "name", languageName(code)), element("small", "quiet", code));
  return made;
}

function cell(src, tgt, pool, most) {
  const made = element("td");
  const { nodes = 0, waiting = 0 } = pool ?? {};
  made.dataset.heat = String(nodes ? Math.max(1, Math.ceil((nodes / most) * STEPS)) : 0);
  made.title = d("languages.cell", { from: languageName(src), to: languageName(tgt), nodes, waiting });
  made.append(element("b", "", nodes ? number(nodes) : "·"));
  if (waiting) made.append(element("span", "badge", number(waiting)));
  return made;
}
