// The one dialog of the page, and the line at its top that tells how a request went.

import { byId, element, iconButton } from "../page/dom.js";
import { d } from "./words.js";

// Open it with this content. `foot` takes buttons; `body` may be filled later.
export function openDialog(title, ...content) {
  const dialog = byId("dialog");
  const head = element("div", "dialog-head");
  const heading = element("h2", "", title);
  heading.id = "dialog-title";
  const close = iconButton("close", d("close"));
  close.addEventListener("click", () => dialog.close());
  head.append(heading, close);
  const body = element("div", "dialog-body");
  body.append(...content);
  const foot = element("div", "dialog-foot");
  dialog.replaceChildren(head, body, foot);
  if (!dialog.open) dialog.showModal();
  return { body, foot, heading, close: () => dialog.close() };
}

export function notify(text, tone = "good") {
  dispatchEvent(new CustomEvent("notice", { detail: { text, tone } }));
}

// Do it, tell that it is done, or why not.
export async function attempt(act, done) {
  try {
    const result = await act();
    if (done) notify(done);
    return result ?? true;
  } catch (error) {
    notify(error.message, "error");
    return null;
  }
}
