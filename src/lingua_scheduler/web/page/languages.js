// The two language pickers, filled with the pairs that nodes serve, in the order of their names.

import { languageName } from "./i18n.js";

const POOLS = "/api/v1/pools";
// Shown while no node tells what it serves, so that the page can be looked at.
const FALLBACK = [
  ["en", "pt"],
  ["en", "es"],
  ["en", "zh"],
  ["zh", "en"],
];

export class Languages {
  #from;
  #to;
  #pairs = FALLBACK;
  #isTwoWay = false;
  #isChosen; // by a person or a link, so that it is kept even while nobody serves it: its node may be on its way

  // The pickers are usable at once; `refresh` brings what is served.
  constructor(from, to, asked) {
    this.#from = from;
    this.#to = to;
    this.#isChosen = Boolean(asked.from && asked.to);
    from.addEventListener("change", () => {
      this.#isChosen = true;
      this.#fillTargets(to.value);
    });
    to.addEventListener("change", () => (this.#isChosen = true));
    this.#choose(asked.from || FALLBACK[0][0], asked.to || FALLBACK[0][1]);
  }

  get from() {
    return this.#from.value;
  }

  get to() {
    return this.#to.value;
  }

  set disabled(value) {
    this.#from.disabled = value;
    this.#to.disabled = value;
  }

  get canSwap() {
    return this.#offered.some(([from, to]) => from === this.to && to === this.from);
  }

  // Two-way: only pairs that are served in both directions are offered.
  set isTwoWay(value) {
    this.#isTwoWay = value;
    const offered = this.#offered;
    const isOffered = offered.some(([from, to]) => from === this.from && to === this.to);
    const [from, to] = isOffered || this.#isChosen || offered.length === 0 ? [this.from, this.to] : offered[0];
    this.#choose(from, to);
  }

  swap() {
    if (!this.canSwap) return;
    this.#isChosen = true;
    this.#choose(this.to, this.from);
  }

  // Ask the scheduler what is served, keep what was chosen; whether any node serves anything.
  async refresh() {
    const served = await fetchPairs();
    if (served.length === 0) return false;
    this.#pairs = served;
    const offered = this.#offered;
    const isServed = offered.some(([from, to]) => from === this.from && to === this.to);
    const [from, to] = this.#isChosen || isServed || offered.length === 0 ? [this.from, this.to] : offered[0];
    this.#choose(from, to);
    return true;
  }

  // The names anew, in the page's language.
  rename() {
    this.#choose(this.from, this.to);
  }

  get #offered() {
    if (!this.#isTwoWay) return this.#pairs;
    return this.#pairs.filter(([a, b]) => this.#pairs.some(([c, d]) => a === d && b === c));
  }

  #choose(from, to) {
    // A choice that nobody serves is offered all the same, in the directions that the mode asks for.
    if (!this.#offered.some(([a, b]) => a === from && b === to)) {
      const kept = this.#isTwoWay
        ? [
            [from, to],
            [to, from],
          ]
        : [[from, to]];
      this.#pairs = [...kept, ...this.#pairs];
    }
    fill(
      this.#from,
      this.#offered.map(([source]) => source),
      from,
    );
    this.#fillTargets(to);
  }

  #fillTargets(chosen) {
    const targets = this.#offered.filter(([source]) => source === this.from).map(([, target]) => target);
    fill(this.#to, targets.length > 0 ? targets : [chosen], chosen);
  }
}

async function fetchPairs() {
  try {
    const answer = await fetch(POOLS);
    const { pools = [] } = await answer.json();
    return pools.filter(({ src, tgt, nodes }) => src !== tgt && nodes > 0).map(({ src, tgt }) => [src, tgt]);
  } catch {
    return []; // the scheduler is away: opening a session will say so
  }
}

function fill(select, codes, chosen) {
  const unique = [...new Set(codes)];
  const options = unique.map((code) => new Option(languageName(code), code, false, code === chosen));
  options.sort((a, b) => a.text.localeCompare(b.text));
  const isSame =
    options.length === select.options.length &&
    options.every(({ value, text }, at) => {
      return select.options[at].value === value && select.options[at].text === text;
    });
  if (!isSame) select.replaceChildren(...options); // an open list is not shut under a person's hand
  select.value = unique.includes(chosen) ? chosen : (options[0]?.value ?? "");
}
