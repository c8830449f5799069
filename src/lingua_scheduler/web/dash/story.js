// A job's story: where it stands, when what happened to it, and why each attempt went where it went.

import { element } from "../page/dom.js";
import { fetchJob } from "./acts.js";
import { openDialog } from "./dialog.js";
import { chip, gauge } from "./kit.js";
import { d, duration, hasWord, percent, time, word } from "./words.js";

const GOOD = new Set(["completed", "completed_no_text"]);
const OPEN = new Set(["pending", "assigned", "accepted", "running", "held"]);

export async function openStory(jobId) {
  const dialog = openDialog(d("story.title", { job: jobId }), element("p", "quiet", d("story.loading")));
  try {
    dialog.body.replaceChildren(...told(await fetchJob(jobId)));
  } catch (error) {
    dialog.body.replaceChildren(element("p", "", error.message));
  }
}

function told(story) {
  const tone = OPEN.has(story.status) ? "warn" : GOOD.has(story.status) ? "good" : "bad";
  const facts = element("dl", "facts");
  const fact = (label, ...content) => {
    const value = element("dd");
    value.append(...content);
    const pair = element("div");
    pair.append(element("dt", "", label), value);
    facts.append(pair);
  };
  fact(d("story.status"), chip(story.status, tone));
  fact(d("col.pair"), story.pairs.map(([src, tgt]) => `${src} → ${tgt}`).join(", "));
  fact(d("story.utterance"), String(story.utterance_index));
  fact(d("story.session"), story.session_id);
  fact(d("story.owner"), story.owner || "–");
  fact(d("story.trace"), story.trace_id || "–");
  return [facts, element("h3", "", d("story.times")), course(story), element("h3", "", d("story.attempts")), attempts(story)];
}

// What happened, each with how long after the first.
function course({ times_ms }) {
  const list = element("ol", "course");
  const known = Object.entries(times_ms).filter(([name, at]) => at > 0 && hasWord(`story.${name}`));
  known.sort(([, a], [, b]) => a - b);
  const first = known[0]?.[1] ?? 0;
  for (const [name, at] of known) {
    const item = element("li");
    item.append(element("span", "", d(`story.${name}`)), element("b", "", `+${duration(at - first)}`), element("small", "quiet", time(at)));
    list.append(item);
  }
  return list;
}

function attempts({ choices, causes }) {
  const list = element("ol", "attempts");
  const numbers = [...new Set([...Object.keys(choices), ...Object.keys(causes)])].sort((a, b) => a - b);
  for (const attempt of numbers) {
    const item = element("li");
    const head = element("p", "attempt-head");
    head.append(element("b", "", d("story.attempt", { n: attempt })));
    const [why, ...weighed] = (choices[attempt] ?? "").split(" ");
    if (why) head.append(element("span", "quiet", word("why", why)));
    if (causes[attempt]) head.append(chip(d("story.failed", { cause: causes[attempt] }), "bad"));
    item.append(head, ...weighed.map((one, at) => candidate(one, at === 0)));
    list.append(item);
  }
  return list;
}

// `node=333`: the chosen one first; loads are in thousandths.
function candidate(text, isChosen) {
  const [node, load] = [text.slice(0, text.lastIndexOf("=")), Number(text.slice(text.lastIndexOf("=") + 1)) / 1000];
  const row = element("div", "candidate");
  row.dataset.chosen = String(isChosen);
  row.append(element("span", "id", `${isChosen ? "✓ " : ""}${node}`), gauge(d("story.load", { node, load: percent(load) }), load, percent(load)));
  return row;
}
