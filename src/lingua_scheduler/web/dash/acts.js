// What the pages ask the scheduler to do, and how its refusals are told.

import { d } from "./words.js";

const TOKEN = "lingua.operator";

export function operatorToken() {
  return sessionStorage.getItem(TOKEN) ?? "";
}

export function keepOperatorToken(token) {
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
}

// Throws an Error whose message can be shown.
export async function ask(method, path, body = {}) {
  const token = operatorToken();
  const headers = { ...(token && { Authorization: `Bearer ${token}` }) };
  const options = { method, headers };
  if (method !== "GET") {
    headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error(d("error.away"));
  }
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  throw Object.assign(new Error(told.error ?? `HTTP ${answer.status}`), { status: answer.status });
}

export const askNode = (nodeId, command) => ask("POST", `/api/v1/nodes/${encodeURIComponent(nodeId)}/${command}`);
export const fetchJob = (jobId) => ask("GET", `/api/v1/jobs/${encodeURIComponent(jobId)}`);

const letters = (instanceId) => `/api/v1/instances/${encodeURIComponent(instanceId)}/dead-letters`;
export const fetchLetters = async (instanceId) => (await ask("GET", letters(instanceId))).dead_letters;
export const redeliverLetter = (instanceId, id) => ask("POST", `${letters(instanceId)}/${id}/redeliver`);
export const deleteLetter = (instanceId, id) => ask("DELETE", `${letters(instanceId)}/${id}`);
