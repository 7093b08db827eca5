// The list of tasks, newest first, and the search in it.

import { call } from "./api.js";
import { $, announce, make, moment, replaceRows, say } from "./dom.js";
import { Question } from "./question.js";
import { isRunning, state, statusWords } from "./state.js";

const PAGE = 50;
const MAX_PAGE = 200;
const SEARCH_AFTER_MS = 250;

export class History {
  constructor({ onopen, attempt }) {
    this.tasks = [];
    this.hasMore = false;
    this.turn = 0;
    this.onopen = onopen;
    this.attempt = attempt;
    this.question = new Question("tasks", { show: () => this.show(), rest: "new-task" });
    $("more").addEventListener("click", () => attempt(() => this.loadMore()));
    $("new-task").addEventListener("click", () => onopen(null));
    let timer = 0;
    $("search").addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => attempt(() => this.load()), SEARCH_AFTER_MS);
    });
    $("open-history").addEventListener("click", () => this.unfold(!$("history").classList.contains("open")));
    $("history").addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !$("history").classList.contains("open")) return;
      this.unfold(false);
      $("open-history").focus();
    });
  }

  // On narrow pages the list lies over the conversation.
  unfold(isOpen) {
    $("history").classList.toggle("open", isOpen);
    $("open-history").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) $("new-task").focus();
  }

  async load() {
    const turn = ++this.turn;
    const limit = Math.min(Math.max(this.tasks.length, PAGE), MAX_PAGE);
    const answer = await call("GET", `/api/tasks?limit=${limit}${searched()}`);
    if (turn !== this.turn) return;
    this.tasks = answer.items;
    this.hasMore = answer.has_more;
    this.show();
  }

  async loadMore() {
    const answer = await call("GET", `/api/tasks?before=${this.tasks.at(-1).id}${searched()}`);
    this.tasks = [...this.tasks, ...answer.items];
    this.hasMore = answer.has_more;
    this.show();
  }

  show() {
    replaceRows($("tasks"), this.tasks.map((task) => this.row(task)));
    $("more").hidden = !this.hasMore;
    $("nothing-found").hidden = this.tasks.length > 0;
    $("nothing-found").textContent = say($("search").value.trim() ? "console.nothing_found" : "console.no_tasks");
  }

  row(task) {
    const device = state.devices.get(task.device_id)?.name;
    const where = state.devices.size > 1 && device ? [" · ", make("bdi", { text: device })] : [];
    const row = make("li", {}, make("button", {
      type: "button",
      class: "task",
      "data-act": `open-${task.id}`,
      "aria-current": task.id === state.openId ? "true" : undefined,
      onclick: () => this.onopen(task.id),
    }, make("span", { class: "title", text: task.title }),
    make("span", { class: `status ${task.status.toLowerCase()}` },
      `${statusWords(task.status)} · ${moment(task.updated_at)}`, ...where)),
    this.question.opener(`task-${task.id}`, task.title, { text: "✕", class: "plain small quiet" }));
    const ask = isRunning(task.status) ? "console.delete_running_task" : "console.delete_task";
    return this.question.below(row, `task-${task.id}`, say(ask), () => this.attempt(() => this.remove(task)));
  }

  async remove(task) {
    await call("DELETE", `/api/tasks/${task.id}`);
    announce(say("console.deleted", { name: task.title }));
    await this.load();
  }
}

function searched() {
  const words = $("search").value.trim();
  return words ? `&search=${encodeURIComponent(words)}` : "";
}
