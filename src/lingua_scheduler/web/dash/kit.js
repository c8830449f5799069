// Pieces that every dashboard is made of: panels, tiles, meters, chips, and tables that are changed in place.

import { element } from "../page/dom.js";
import { d, number } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function panel(title, ...content) {
  const made = element("section", "panel");
  const head = element("div", "panel-head");
  const heading = element("h2", "", title);
  head.append(heading);
  made.append(head, ...content);
  made.head = head;
  made.heading = heading;
  return made;
}

// A number that matters, with what it is and what it is made of. `set(value, detail, share)`: share 0–1 draws a meter.
export function tile(label) {
  const made = element("div", "tile");
  const value = element("p", "tile-value", "–");
  const detail = element("p", "tile-detail");
  const bar = meter(label);
  bar.hidden = true;
  made.append(element("p", "tile-label", label), value, bar, detail);
  made.set = (text, more = "", share = null, tone = "") => {
    setText(value, text);
    setText(detail, more);
    made.dataset.tone = tone;
    bar.hidden = share === null;
    if (share !== null) bar.set(share);
  };
  return made;
}

// A bar from 0 to 1.
export function meter(label) {
  const made = element("div", "meter");
  const fill = element("i");
  made.append(fill);
  made.setAttribute("role", "meter");
  made.setAttribute("aria-label", label);
  made.setAttribute("aria-valuemin", "0");
  made.setAttribute("aria-valuemax", "100");
  made.set = (share) => {
    const percent = Math.round(Math.min(1, Math.max(0, share)) * 100);
    made.setAttribute("aria-valuenow", String(percent));
    fill.style.inlineSize = `${percent}%`;
    made.dataset.level = percent >= 90 ? "high" : percent >= 70 ? "warm" : "calm";
  };
  return made;
}

// A meter with its number beside it.
export function gauge(label, share, text) {
  const made = element("div", "gauge");
  const bar = meter(label);
  bar.set(share);
  made.append(bar, element("span", "gauge-text", text));
  return made;
}

export function chip(text, tone = "") {
  const made = element("span", "chip", text);
  made.dataset.tone = tone;
  return made;
}

export function button(text, act, className = "small") {
  const made = element("button", className, text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

// A table whose rows keep their place in the document while they are the same things, so that focus and selection stay.
// Columns: `label`, `text(row)` or `node(row)` with `sign(row)`, which changes when the node must be made anew.
export class Table {
  #columns;
  #key;
  #rows = new Map();
  #body = element("tbody");
  #empty;

  // `stays`: few and short columns, a table on a phone too, where others become a list of rows.
  constructor(caption, columns, key, empty = d("none"), { stays = false } = {}) {
    this.#columns = columns;
    this.#key = key;
    this.#empty = element("p", "nothing", empty);
    const table = element("table");
    table.setAttribute("role", "table");
    const title = element("caption", "unseen", caption);
    const head = element("thead");
    const line = element("tr");
    line.setAttribute("role", "row");
    for (const { label, isNumber } of columns) {
      const cell = element("th", isNumber ? "number" : "", label);
      cell.scope = "col";
      cell.setAttribute("role", "columnheader");
      line.append(cell);
    }
    head.setAttribute("role", "rowgroup");
    this.#body.setAttribute("role", "rowgroup");
    head.append(line);
    table.append(title, head, this.#body);
    const scroll = element("div", "scroll");
    scroll.append(table);
    this.table = table;
    this.root = element("div", stays ? "table stays" : "table");
    this.root.append(scroll, this.#empty);
    this.update([]);
  }

  update(rows) {
    this.table.hidden = rows.length === 0;
    this.#empty.hidden = rows.length > 0;
    const kept = new Map();
    let before = null;
    for (const row of rows) {
      const key = this.#key(row);
      const line = this.#rows.get(key) ?? this.#make();
      kept.set(key, line);
      this.#fill(line, row);
      const next = before ? before.nextSibling : this.#body.firstChild;
      if (next !== line) this.#body.insertBefore(line, next);
      before = line;
    }
    for (const [key, line] of this.#rows) if (kept.get(key) !== line) line.remove();
    this.#rows = kept;
  }

  #make() {
    const line = element("tr");
    line.setAttribute("role", "row");
    for (const { label, isNumber, className = "" } of this.#columns) {
      const cell = element("td", `${isNumber ? "number " : ""}${className}`.trim());
      cell.setAttribute("role", "cell");
      cell.dataset.label = label;
      line.append(cell);
    }
    return line;
  }

  #fill(line, row) {
    if (line.dataset.tone !== (row.tone ?? "")) line.dataset.tone = row.tone ?? "";
    this.#columns.forEach(({ text, node, sign }, at) => {
      const cell = line.children[at];
      if (text) setText(cell, text(row));
      else if (cell.sign !== sign(row)) {
        cell.sign = sign(row);
        cell.replaceChildren(node(row));
      }
    });
  }
}

// How many of something, with a note where more are known than shown.
export function shownOf(shown, total) {
  return total > shown ? d("shownOf", { shown: number(shown), total: number(total) }) : number(total);
}
