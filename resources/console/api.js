// Talking to the hub and to the executor of this computer.

import { make, say } from "./dom.js";

const TOKEN = "wegent.token";
// An event stream says something every fifteen seconds: who says nothing for so long is gone.
export const limits = { silenceMs: 60_000 };

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  keep: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

// Something that a person is told: title, detail and hint. Status 0: nobody answered.
export class Problem extends Error {
  constructor(status, words) {
    super(words.title);
    this.status = status;
    this.words = words;
  }
}

const unreachable = () =>
  new Problem(0, { title: say("console.unreachable"), detail: say("console.unreachable_detail") });

let refused = () => {};

// `work` is told when the token of this tab is good no longer, whatever the request was about.
export function onRefusal(work) {
  refused = work;
}

async function request(method, path, { body, headers = {}, signal } = {}) {
  const asked = token.get();
  let response;
  try {
    response = await fetch(path, {
      method,
      body,
      signal,
      headers: {
        Authorization: `Bearer ${asked}`,
        "Accept-Language": document.documentElement.lang,
        ...headers,
      },
    });
  } catch {
    throw unreachable();
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  const problem = new Problem(response.status, answer.error ?? { title: response.statusText });
  // Signing in is refused for its own reasons, and a late answer says nothing about a new token.
  const isAboutToken = asked && asked === token.get() && !path.startsWith("/api/auth/");
  if (response.status === 401 && isAboutToken) refused(problem);
  throw problem;
}

// An answer that breaks off is none.
const content = (response) => response.json().catch(() => { throw unreachable(); });

export async function call(method, path, body) {
  const sent = body === undefined
    ? {}
    : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  return content(await request(method, path, { ...sent, signal: AbortSignal.timeout(limits.silenceMs) }));
}

export async function upload(path, file) {
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  return content(await request("POST", path, { body: file, headers }));
}

export async function download(path, name) {
  const url = URL.createObjectURL(await (await request("GET", path)).blob());
  make("a", { href: url, download: name }).click();
  URL.revokeObjectURL(url);
}

const HIDDEN = "hidden";

const seen = () => new Promise((done) => {
  if (!document.hidden) done();
  else document.addEventListener("visibilitychange", done, { once: true });
});

// The server-sent events of a path, from the one after `lastId` on; ends with the connection.
// A page that nobody sees has none until it is seen: a browser allows all pages of a host six.
export async function* stream(path, { lastId = "", signal, onopen }) {
  for (;;) {
    await seen();
    if (signal.aborted) return;
    const ending = new AbortController();
    const { signal: ended } = ending;
    signal.addEventListener("abort", () => ending.abort(), { signal: ended });
    document.addEventListener("visibilitychange", () => ending.abort(HIDDEN), { signal: ended });
    try {
      for await (const event of connection(path, { lastId, ending, onopen })) {
        lastId = event.id;
        yield event;
      }
    } catch (error) {
      if (ended.reason !== HIDDEN) throw error;
    } finally {
      ending.abort();
    }
    if (ended.reason !== HIDDEN) return;
  }
}

async function* connection(path, { lastId, ending, onopen }) {
  let timer = 0;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => ending.abort(), limits.silenceMs);
  };
  heard();
  try {
    const headers = lastId ? { "Last-Event-ID": lastId } : {};
    const response = await request("GET", path, { headers, signal: ending.signal });
    await onopen?.();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      heard();
      const { value, done } = await reader.read().catch(() => ({ done: true }));
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split("\n").map((line) => {
          const colon = line.indexOf(": ");
          return [line.slice(0, colon), line.slice(colon + 2)];
        }));
        if (fields.event) yield { id: fields.id, event: fields.event, data: JSON.parse(fields.data) };
      }
    }
  } finally {
    clearTimeout(timer);
  }
}
