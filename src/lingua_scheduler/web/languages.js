// The two language pickers, filled with the pairs that nodes serve.

const POOLS = "/api/v1/pools";
// Shown while no node tells what it serves, so that the page can be looked at.
const FALLBACK = [
  ["en", "pt"],
  ["en", "es"],
  ["en", "zh"],
  ["zh", "en"],
];
const NAMES = new Intl.DisplayNames(navigator.languages, { type: "language", fallback: "code" });

export class Languages {
  #from;
  #to;
  #pairs = FALLBACK;
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
    this.#choose(asked.from ?? FALLBACK[0][0], asked.to ?? FALLBACK[0][1]);
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
    return this.#pairs.some(([from, to]) => from === this.to && to === this.from);
  }

  swap() {
    if (this.canSwap) this.#choose(this.to, this.from);
  }

  // Ask the scheduler what is served, keep what was chosen; whether any node serves anything.
  async refresh() {
    const served = await fetchPairs();
    if (served.length === 0) return false;
    this.#pairs = served;
    const isServed = served.some(([from, to]) => from === this.from && to === this.to);
    const [from, to] = this.#isChosen || isServed ? [this.from, this.to] : served[0];
    this.#choose(from, to);
    return true;
  }

  #choose(from, to) {
    if (!this.#pairs.some(([a, b]) => a === from && b === to)) this.#pairs = [[from, to], ...this.#pairs];
    fill(this.#from, this.#pairs.map(([source]) => source), from);
    this.#fillTargets(to);
  }

  #fillTargets(chosen) {
    fill(this.#to, this.#pairs.filter(([source]) => source === this.from).map(([, target]) => target), chosen);
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
  const options = unique.map((code) => new Option(nameOf(code), code, false, code === chosen));
  options.sort((a, b) => a.text.localeCompare(b.text));
  select.replaceChildren(...options);
  select.value = unique.includes(chosen) ? chosen : (options[0]?.value ?? "");
}

export function nameOf(code) {
  const name = NAMES.of(code) ?? code;
  return name.charAt(0).toUpperCase() + name.slice(1);
}
