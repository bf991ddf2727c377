// SPDX-License-Identifier: Apache-2.0
// Talking to the server, and what it says when it refuses.

export class Refused extends Error {}

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Is evit-deploy demo-sam still running?");
  }
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: { what: `The server answered ${answer.status}.` } }));
  throw new Refused(inWords(error));
}

export const post = (path, body, signal) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });

export function inWords({ what, found, expected, fix }) {
  const rows = Object.entries({ Found: found, Expected: expected, "What helps": fix }).filter(([, text]) => text);
  return [what, ...rows.map(([name, text]) => `${name}: ${text}`)].join("\n");
}

// Hands on a stream of JSON, line by line.
export async function readLines(answer, use) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    lines.forEach((line) => use(JSON.parse(line)));
    if (done) return;
  }
}
