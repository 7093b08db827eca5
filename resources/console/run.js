// What this computer knows of the run behind an answer: changed files, artifacts, the raw events.

import { call, download, Problem, stream } from "./api.js";
import { button, fold, make, say, size } from "./dom.js";
import { patchView } from "./patch.js";
import { isHere, isRunning, state } from "./state.js";

const PAGE = 200;
const MAX_PAGES = 10;
const MAX_EVENTS = 300;
const MAX_EVENT_LENGTH = 4000;
const ENDS = ["completed", "failed", "cancelled"];
const LOOKS = 5;
const LOOK_AGAIN_MS = 400;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// The run of an answer, or null. A retry is a new run of the same answer: the newest counts.
async function runOf(task, message) {
  const since = Date.parse(message.created_at) - 1000;
  let before = "";
  for (let page = 0; page < MAX_PAGES; page++) {
    const runs = await call("GET", `/api/runs?limit=${PAGE}${before}`);
    const found = runs.find((run) => run.source === "device" && run.task_id === task.id
      && run.subtask_id === message.subtask_id && Date.parse(run.accepted_at) >= since);
    if (found) return found;
    if (runs.length < PAGE || Date.parse(runs.at(-1).accepted_at) < since) return null;
    before = `&before=${runs.at(-1).run_id}`;
  }
  return null;
}

// The place in the queue, in words; empty for a run that is not waiting.
export async function queueWords(message) {
  state.computer = await call("GET", "/api/status");
  const queued = state.computer.runs
    .filter((run) => run.state === "queued")
    .sort((one, other) => Date.parse(one.accepted_at) - Date.parse(other.accepted_at));
  const place = queued.findIndex((run) => run.subtask_id === message.subtask_id) + 1;
  if (!place) return "";
  const words = say("console.queue_place", { place });
  return state.computer.paused ? `${words} ${say("console.paused")}` : words;
}

export class RunDetails {
  constructor(task, message) {
    this.task = task;
    this.message = message;
    this.changes = make("div");
    this.artifacts = make("div");
    this.node = make("div", { class: "run", hidden: !isHere(task.device_id) },
      this.changes, this.artifacts, this.eventsFold());
    this.shownFor = "";
    this.reading = new AbortController();
    this.watcher = new IntersectionObserver((seen) => {
      if (seen.some((each) => each.isIntersecting)) this.load();
    });
  }

  update(message) {
    this.message = message;
    this.watcher.disconnect();
    if (this.node.hidden) return;
    if (isRunning(message.status)) {
      this.changes.replaceChildren();
      this.artifacts.replaceChildren();
      this.shownFor = "";
    } else if (this.shownFor !== message.updated_at) {
      // Only once somebody can see it: a long conversation has many of these.
      this.watcher.observe(this.node);
    }
  }

  close() {
    this.reading.abort();
    this.watcher.disconnect();
  }

  async load() {
    this.watcher.disconnect();
    this.shownFor = this.message.updated_at;
    try {
      const run = await this.finished();
      if (!run) return;
      const base = `/api/runs/${run.run_id}`;
      const [detail, changes] = await Promise.all([call("GET", base), call("GET", `${base}/patch`)]);
      this.showArtifacts(base, detail.outcome?.artifacts ?? []);
      this.changes.replaceChildren(patchView(changes));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.shownFor = "";
    }
  }

  // The server hears of the end a moment before the list of runs does.
  async finished() {
    for (let look = 0; look < LOOKS; look++) {
      const run = await runOf(this.task, this.message);
      if (!run || ENDS.includes(run.state)) return run;
      await pause(LOOK_AGAIN_MS);
    }
    return null;
  }

  showArtifacts(base, artifacts) {
    const rows = artifacts.map(({ name, size_bytes: bytes = 0 }) => make("li", {},
      make("span", { text: `${name} (${size(bytes)})` }),
      button(say("console.download"), (event) => this.fetch(base, name, event.currentTarget), {
        class: "small", "aria-label": say("console.download_name", { name }),
      })));
    this.artifacts.replaceChildren(...(rows.length
      ? [make("h4", { text: say("console.artifacts") }), make("ul", { class: "rows" }, ...rows)]
      : []));
  }

  async fetch(base, name, told) {
    try {
      await download(`${base}/artifacts/${encodeURIComponent(name)}`, name);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      told.textContent = error.words.title;
    }
  }

  // --- raw events -------------------------------------------------------------------------------

  eventsFold() {
    const list = make("pre", { class: "events", tabindex: "0", "aria-label": say("console.events") });
    const node = fold(say("console.events"), list);
    node.addEventListener("toggle", () => {
      this.reading.abort();
      if (node.open) this.read(list);
    });
    return node;
  }

  async read(list) {
    this.reading = new AbortController();
    const { signal } = this.reading;
    list.replaceChildren(say("console.loading"));
    try {
      const run = await runOf(this.task, this.message);
      list.replaceChildren(run ? "" : say("console.no_run"));
      if (!run) return;
      for await (const { data } of stream(`/api/runs/${run.run_id}/agent-events`, { signal })) {
        if (signal.aborted) return;
        this.addEvent(list, data);
      }
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (!signal.aborted) list.append(error.words.title);
    }
  }

  addEvent(list, { seq, at, kind, ...rest }) {
    const wasAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    const words = JSON.stringify(rest);
    const shown = words.length > MAX_EVENT_LENGTH ? `${words.slice(0, MAX_EVENT_LENGTH)} …` : words;
    list.append(make("span", {},
      make("b", { text: `${seq} ${kind}` }), ` ${shown}\n`));
    while (list.children.length > MAX_EVENTS) list.firstChild.remove();
    if (wasAtEnd) list.scrollTop = list.scrollHeight;
  }
}
