// The dead letters of an instance: read, redelivered, deleted.

import { element } from "../page/dom.js";
import { deleteLetter, fetchLetters, redeliverLetter } from "./acts.js";
import { attempt, openDialog } from "./dialog.js";
import { button, Table } from "./kit.js";
import { bytes, d, time } from "./words.js";

export async function openLetters(instanceId) {
  const dialog = openDialog(d("letters.title", { instance: instanceId }), element("p", "quiet", d("letters.about")));
  let rows = [];

  const load = async () => {
    rows = (await attempt(() => fetchLetters(instanceId))) ?? [];
    table.update(rows);
    all.hidden = rows.length === 0;
  };
  const act = async (what, done) => {
    if (await attempt(what, done)) await load();
  };
  const table = letterTable(instanceId, act);
  const all = button(d("letters.redeliverAll"), () => act(async () => {
    for (const { letter_id } of rows) await redeliverLetter(instanceId, letter_id);
  }, d("letters.redelivered")), "plain strong");
  dialog.body.append(table.root);
  dialog.foot.append(all);
  await load();
}

function letterTable(instanceId, act) {
  return new Table(d("letters.title", { instance: instanceId }), [
    { label: d("col.when"), text: ({ given_up_at_ms }) => time(given_up_at_ms), className: "quiet" },
    { label: d("col.message"), text: ({ kind, node_id, job_id }) => [kind, node_id, job_id].filter(Boolean).join(" · "), className: "id" },
    { label: d("col.reason"), text: ({ reason }) => reason, className: "long" },
    { label: d("col.size"), text: (row) => bytes(row.bytes), isNumber: true },
    {
      label: d("col.action"), sign: ({ letter_id }) => letter_id,
      node: ({ letter_id }) => {
        const both = element("span", "chips");
        const redeliver = button(d("letters.redeliver"), () => act(() => redeliverLetter(instanceId, letter_id), d("letters.redelivered")));
        const remove = button(d("letters.delete"), () => {
          if (remove.dataset.asked) return act(() => deleteLetter(instanceId, letter_id), d("letters.deleted"));
          remove.dataset.asked = "yes";
          remove.textContent = d("letters.sure");
          remove.classList.add("bad");
        });
        both.append(redeliver, remove);
        return both;
      },
    },
  ], ({ letter_id }) => letter_id, d("letters.none"));
}
