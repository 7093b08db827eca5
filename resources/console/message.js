// One message of a conversation: what was asked, or what the agent says and does about it.

import { button, fold, make, say, size } from "./dom.js";
import { Flow } from "./markdown.js";
import { RunDetails } from "./run.js";
import { agentTitle, isRunning, statusWords } from "./state.js";

const SHOW_EVERY_MS = 60;
const SHORT_REASONING = 300;
const TOOLS_IN_SIGHT = 4;
const TOOL_SIGNS = { running: "…", done: "✓", failed: "✗", stopped: "■" };
const TELLING = ["command", "file_path", "path", "notebook_path", "pattern", "query", "url", "description"];
const MAX_SHOWN = 120;

export function userMessage(message) {
  const files = (message.attachments ?? []).map((file) =>
    make("li", { text: `${file.name} (${size(file.size)})` }));
  return make("article", { class: "user" },
    make("h3", { text: say("console.you") }),
    make("div", { class: "text", text: message.text }),
    files.length ? make("ul", { class: "files" }, ...files) : null);
}

export class AnswerView {
  constructor(task, message, { onretry, onshown }) {
    this.task = task;
    this.message = message;
    this.onshown = onshown;
    this.timer = 0;
    this.waitsFor = "";
    this.thought = "";
    this.tools = [];
    this.head = make("h3");
    this.waiting = make("p", { class: "quiet", hidden: true });
    this.reasoning = make("div");
    this.earlier = make("details", { class: "earlier", hidden: true }, make("summary"));
    this.recent = make("div");
    this.text = make("div", { class: "answer" });
    this.flow = new Flow(this.text);
    this.error = make("div", { class: "failure", hidden: true });
    this.retry = button(say("console.retry"), onretry, { class: "retry" });
    this.details = new RunDetails(task, message);
    this.node = make("article", { class: "agent" }, this.head, this.waiting, this.reasoning,
      this.earlier, this.recent, this.text, this.error, this.retry, this.details.node);
  }

  update(message, isLast) {
    this.message = message;
    this.isLast = isLast;
    const running = isRunning(message.status);
    if (running) this.node.setAttribute("aria-busy", "true");
    else this.node.removeAttribute("aria-busy");
    this.showError(message);
    this.retry.hidden = !(isLast && ["FAILED", "CANCELLED"].includes(message.status));
    this.details.update(message);
    this.show();
  }

  close() {
    clearTimeout(this.timer);
    this.details.close();
  }

  get isSilent() {
    const { status, text, reasoning, tools } = this.message;
    return isRunning(status) && !text && !reasoning && !tools.length;
  }

  // What the message is waiting for, while nothing of an answer is there.
  showWaiting(words) {
    this.waitsFor = words;
    this.showHead();
  }

  showHead() {
    const { isSilent, waitsFor, message: { status, note } } = this;
    const shown = isSilent && waitsFor ? "PENDING" : status;
    this.head.replaceChildren(
      `${agentTitle(this.task.agent)} · `,
      make("span", { class: `status ${shown.toLowerCase()}`, text: statusWords(shown) }));
    this.waiting.hidden = !isSilent;
    this.waiting.textContent = waitsFor || note || say("console.starting");
  }

  // Not for every word: a fast agent writes more often than anybody can read.
  showSoon() {
    this.timer ||= setTimeout(() => this.show(), SHOW_EVERY_MS);
  }

  show() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.onshown(() => {
      this.showHead();
      this.showReasoning(this.message.reasoning);
      this.showTools(this.message.tools);
      this.flow.show(this.message.text);
    });
  }

  showError({ status, error }) {
    this.error.hidden = status !== "FAILED" && !error;
    this.error.replaceChildren(
      make("strong", { text: say("console.failed") }),
      make("p", { text: error || say("console.failed_silently") }));
  }

  // A line or two is read at once: what the executor itself has to say comes this way as well.
  showReasoning(words) {
    if (words === this.thought) return;
    this.thought = words;
    if (!words) this.reasoning.replaceChildren();
    else if (words.length <= SHORT_REASONING) this.reasoning.replaceChildren(make("p", { class: "aside", text: words.trim() }));
    else if (!this.reasoning.querySelector("details")) {
      this.reasoning.replaceChildren(fold(say("console.reasoning"), make("pre", { text: words })));
    } else this.reasoning.querySelector("pre").textContent = words;
  }

  showTools(tools) {
    if (tools.length < this.tools.length) this.clearTools();
    tools.forEach((tool, index) => {
      this.tools[index] ??= this.newTool();
      this.tools[index].show(tool);
    });
    while (this.recent.children.length > TOOLS_IN_SIGHT) this.earlier.append(this.recent.firstChild);
    const count = this.earlier.children.length - 1;
    this.earlier.hidden = count === 0;
    this.earlier.firstChild.textContent = say("console.earlier_tools", { count });
  }

  clearTools() {
    this.tools = [];
    this.recent.replaceChildren();
    this.earlier.replaceChildren(this.earlier.firstChild);
  }

  newTool() {
    const tool = new ToolView();
    this.recent.append(tool.node);
    return tool;
  }
}

class ToolView {
  constructor() {
    this.title = make("summary");
    this.input = make("pre");
    this.output = make("pre");
    this.node = make("details", { class: "tool" }, this.title, this.input, this.output);
    this.shown = "";
  }

  show(tool) {
    const key = `${tool.id} ${tool.status} ${tool.output.length}`;
    if (key === this.shown) return;
    this.shown = key;
    this.title.replaceChildren(
      make("span", { class: `sign ${tool.status}`, "aria-hidden": "true", text: TOOL_SIGNS[tool.status] }),
      make("b", { text: tool.name }),
      make("code", { text: gist(tool.input) }),
      make("span", { class: "quiet", text: say(`console.tool_${tool.status}`) }));
    this.input.textContent = readable(tool.input);
    this.output.textContent = tool.output;
  }
}

function parsed(input) {
  try {
    return JSON.parse(input);
  } catch {
    return null;
  }
}

function gist(input) {
  const values = parsed(input) ?? {};
  const name = TELLING.find((each) => typeof values[each] === "string");
  return name ? values[name].trim().split("\n")[0].slice(0, MAX_SHOWN) : "";
}

const readable = (input) => {
  const values = parsed(input);
  return values === null ? input : JSON.stringify(values, null, 2);
};
