// Time charts of the last ten minutes, drawn as SVG: lines, areas and bars over one scale, read by pointer or arrow keys.

import { element } from "../page/dom.js";
import { setText, svg } from "./kit.js";
import { d, time } from "./words.js";

const WINDOW_MS = 600_000;
const GAP_MS = 12_000;
const HEIGHT = 168;
const LEFT = 52;
const BOTTOM = 22;
const TOP = 8;
const SLOT_MS = 10_000;

// `series`: { name, tone (1–6), kind ("line", "area", "bar"), of(sample) → number or null }.
export class TimeChart {
  #series;
  #format;
  #ceiling;
  #least;
  #sums = new Map(); // of the series that are bars: by slot of time
  #samples = [];
  #nowMs = 0;
  #width = 0;
  #at = null; // the sample that is looked at; null: the newest
  #picture = svg("svg", { role: "img" });
  #values = [];
  #moment = element("span", "moment");

  constructor(title, series, { format, ceiling = 0, least = 4 }) {
    this.#series = series;
    this.#format = format;
    this.#ceiling = ceiling;
    this.#least = least;
    this.title = title;
    this.root = element("figure", "panel chart");
    const head = element("figcaption", "panel-head");
    head.append(element("h2", "", title), this.#moment);
    this.root.append(head, this.#legend(), this.#picture);
    this.root.tabIndex = 0;
    this.root.setAttribute("aria-label", title);
    this.#listen();
    new ResizeObserver(() => this.#fit()).observe(this.#picture);
  }

  update(samples, nowMs) {
    this.#samples = samples;
    this.#nowMs = samples.at(-1)?.at_ms ?? nowMs;
    for (const one of this.#series) if (one.kind === "bar") this.#sums.set(one, summed(samples, one.of));
    this.#draw();
  }

  #legend() {
    const list = element("ul", "legend");
    this.#values = this.#series.map(({ name, tone }) => {
      const item = element("li");
      const value = element("b");
      const swatch = element("i");
      swatch.dataset.series = tone;
      item.append(swatch, element("span", "", name), value);
      list.append(item);
      return value;
    });
    return list;
  }

  #listen() {
    this.#picture.addEventListener("pointermove", ({ offsetX }) => this.#look(this.#atX(offsetX)));
    this.#picture.addEventListener("pointerleave", () => this.#look(null));
    this.root.addEventListener("blur", () => this.#look(null));
    this.root.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || this.#samples.length === 0) return;
      event.preventDefault();
      const at = this.#at === null ? this.#samples.length - 1 : this.#at + step;
      this.#look(Math.min(this.#samples.length - 1, Math.max(0, at)));
    });
  }

  #look(at) {
    this.#at = at;
    this.#draw();
  }

  #atX(x) {
    const wanted = this.#nowMs - WINDOW_MS + ((x - LEFT) / (this.#width - LEFT)) * WINDOW_MS;
    let best = null;
    this.#samples.forEach(({ at_ms }, at) => {
      if (best === null || Math.abs(at_ms - wanted) < Math.abs(this.#samples[best].at_ms - wanted)) best = at;
    });
    return best;
  }

  #fit() {
    const width = Math.round(this.#picture.clientWidth);
    if (width === this.#width || width === 0) return;
    this.#width = width;
    this.#picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.#draw();
  }

  #draw() {
    if (this.#width === 0) return this.#fit();
    const looked = this.#samples[this.#at ?? this.#samples.length - 1];
    const top = this.#scale();
    const x = (atMs) => LEFT + ((atMs - this.#nowMs + WINDOW_MS) / WINDOW_MS) * (this.#width - LEFT - 4);
    const y = (value) => TOP + (1 - Math.min(1, value / top)) * (HEIGHT - TOP - BOTTOM);
    const shapes = this.#series.flatMap((one) => (one.kind === "bar" ? this.#bars(one, x, y) : this.#line(one, x, y)));
    this.#picture.replaceChildren(...this.#frame(top, x, y), ...shapes, ...this.#cursor(looked, x, y));
    this.#tell(looked);
  }

  #scale() {
    if (this.#ceiling) return this.#ceiling;
    const values = this.#samples.flatMap((sample) => this.#series.map((one) => this.#value(one, sample) ?? 0));
    return nice(Math.max(this.#least, ...values));
  }

  #frame(top, x, y) {
    const lines = [0, 0.5, 1].flatMap((share) => {
      const at = y(top * share);
      const label = svg("text", { x: LEFT - 8, y: at + 4, class: "axis end" });
      label.textContent = this.#format(top * share);
      return [svg("line", { x1: LEFT, x2: this.#width, y1: at, y2: at, class: "rule" }), label];
    });
    const marks = [10, 5, 0].map((minutes) => {
      const label = svg("text", { x: x(this.#nowMs - minutes * 60_000), y: HEIGHT - 4, class: "axis" });
      label.classList.add({ 10: "start", 5: "middle", 0: "end" }[minutes]);
      label.textContent = minutes ? d("minutesAgo", { n: minutes }) : d("now");
      return label;
    });
    return [...lines, ...marks];
  }

  #line({ tone, kind, of }, x, y) {
    const runs = [];
    let before = -Infinity;
    for (const sample of this.#samples) {
      const value = of(sample);
      if (value === null || value === undefined) {
        before = -Infinity;
        continue;
      }
      if (sample.at_ms - before > GAP_MS) runs.push([]);
      before = sample.at_ms;
      runs.at(-1).push([x(sample.at_ms), y(value)]);
    }
    return runs.flatMap((run) => {
      const path = run.map(([px, py], at) => `${at ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");
      const stroke = svg("path", { d: run.length > 1 ? path : `${path}h0.1`, class: "stroke", "data-series": tone });
      if (kind !== "area") return [stroke];
      const floor = y(0).toFixed(1);
      const shape = `${path}L${run.at(-1)[0].toFixed(1)} ${floor}L${run[0][0].toFixed(1)} ${floor}Z`;
      return [svg("path", { d: shape, class: "fill", "data-series": tone }), stroke];
    });
  }

  #value(one, sample) {
    return one.kind === "bar" ? this.#sums.get(one)?.get(Math.floor(sample.at_ms / SLOT_MS)) : one.of(sample);
  }

  #bars(one, x, y) {
    const { tone } = one;
    const width = Math.max(2, ((this.#width - LEFT) / 60) * 0.7);
    return [...(this.#sums.get(one) ?? [])].flatMap(([slot, sum]) => {
      if (sum === 0) return [];
      const at = Math.max(LEFT, x(slot * SLOT_MS));
      const height = y(0) - y(sum);
      return [svg("rect", { x: at, y: y(sum), width, height, rx: 1.5, class: "bar-of", "data-series": tone })];
    });
  }

  #cursor(looked, x, y) {
    if (this.#at === null || !looked) return [];
    const at = x(looked.at_ms);
    const dots = this.#series.flatMap(({ of, tone, kind }) => {
      const value = of(looked);
      if (value === null || value === undefined || kind === "bar") return [];
      return [svg("circle", { cx: at, cy: y(value), r: 4, class: "dot", "data-series": tone })];
    });
    return [svg("line", { x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM, class: "cursor" }), ...dots];
  }

  #tell(looked) {
    const told = this.#series.map((one, at) => {
      const value = looked ? this.#value(one, looked) : null;
      const text = value === null || value === undefined ? "–" : this.#format(value);
      setText(this.#values[at], text);
      return `${one.name} ${text}`;
    });
    setText(this.#moment, this.#at === null || !looked ? "" : time(looked.at_ms));
    this.#picture.setAttribute("aria-label", `${this.title}: ${told.join(", ")}`);
  }
}

// What happened, in slots of ten seconds: single samples would be hairlines.
function summed(samples, of) {
  const sums = new Map();
  for (const sample of samples) {
    const slot = Math.floor(sample.at_ms / SLOT_MS);
    sums.set(slot, (sums.get(slot) ?? 0) + (of(sample) ?? 0));
  }
  return sums;
}

// The next round number, so that the scale does not wobble.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 4, 5, 8, 10].map((one) => one * power).find((one) => one >= value);
}
