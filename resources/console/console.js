// The console: one user's devices and tasks, live. This is where its parts come together.

import { Access } from "./access.js";
import { call, onRefusal, Problem, stream, token } from "./api.js";
import { Composer } from "./composer.js";
import { $, announce, dot, loadTexts, preferredLanguage, say, useLanguage } from "./dom.js";
import { Help } from "./help.js";
import { History } from "./history.js";
import { AnswerView, userMessage } from "./message.js";
import { queueWords } from "./run.js";
import { attempt, attemptQuietly, onSignIn, showProblem, showSignIn, useTicket } from "./session.js";
import { agentTitle, deviceLine, isHere, isRunning, state, statusWords } from "./state.js";

const OWNER = "owner";
const RETRY_MS = [500, 1000, 2000, 5000, 10000];
const LOOK_AT_QUEUE_MS = 1500;
const NEAR_THE_END = 80;
const SPOKEN = 300;

const views = new Map();  // of the open task's messages, by subtask id
const MAX_EARLY = 2000;
let early = [];  // what grew while a task was being fetched: the fetched one may be older than that
let fetching = 0;
let loading = 0;
let watching = 0;
let following = new AbortController();
let wake = () => {};

// --- who asks -------------------------------------------------------------------------------------

async function whoAmI() {
  state.user = (await call("GET", "/api/hub")).user;
  // The hub's other users have tasks here; this computer is not theirs.
  state.isOwner = state.user === OWNER;
  [state.computer, state.agents] = state.isOwner
    ? await Promise.all([call("GET", "/api/status"), call("GET", "/api/agents")])
    : [null, []];
  showWelcome();
  composer.show();
}

// --- what is shown --------------------------------------------------------------------------------

function showConnection() {
  const words = { none: "console.connecting", up: "console.connected", lost: "console.connection_lost" };
  const status = { none: "busy", up: "online", lost: "offline" };
  $("connection").replaceChildren(dot(status[state.connection]), say(words[state.connection]));
  $("try-now").hidden = state.connection !== "lost";
}

function showDevices() {
  composer.show();
  access.show();
  showTaskHead();
}

function showTaskHead() {
  const { task } = state;
  $("task-head").hidden = task === null;
  document.title = task ? `${task.title} – Wegent Executor` : "Wegent Executor";
  if (!task) return;
  const device = state.devices.get(task.device_id);
  $("task-title").textContent = task.title;
  $("task-place").replaceChildren(
    device ? deviceLine(device) : say("console.device_unknown"), ` · ${agentTitle(task.agent)}`);
}

function showWelcome() {
  $("welcome").hidden = state.task !== null;
  const missing = state.agents.filter((agent) => !agent.is_usable).map((agent) => agent.title);
  const isAlone = state.agents.every((agent) => agent.name === "demo" || !agent.is_usable);
  const hasDemo = state.agents.some((agent) => agent.name === "demo");
  $("stand-in").hidden = !(hasDemo && isAlone && missing.length);
  $("stand-in").textContent = say("console.stand_in", { missing: missing.join(say("console.comma")) });
}

// What makes the conversation longer leaves a reader at its end there.
function keepingTheEnd(work) {
  const box = $("messages");
  const wasAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_THE_END;
  work();
  if (wasAtEnd) box.scrollTop = box.scrollHeight;
}

function showTask() {
  const messages = state.task?.messages ?? [];
  keepingTheEnd(() => {
    forgetViews(messages.map((message) => message.subtask_id));
    const nodes = messages.map((message, index) => messageNode(message, index === messages.length - 1));
    // Those that are there already stay: with them what is unfolded, selected and focused.
    nodes.forEach((node, index) => {
      if ($("messages").children[index] !== node) $("messages").insertBefore(node, $("messages").children[index] ?? null);
    });
  });
  $("messages").hidden = state.task === null;
  showWelcome();
  showDevices();
}

function messageNode(message, isLast) {
  const isUser = message.role === "USER";
  let view = views.get(message.subtask_id);
  if (!view) {
    view = isUser ? { node: userMessage(message), close: () => {} } : new AnswerView(state.task, message, {
      onretry: () => act("retry"),
      onshown: keepingTheEnd,
    });
    views.set(message.subtask_id, view);
  }
  if (!isUser) view.update(message, isLast);
  return view.node;
}

// All but those of these messages; with a view ends what it reads from the executor.
function forgetViews(kept = []) {
  for (const [id, view] of views) {
    if (kept.includes(id)) continue;
    view.close();
    view.node.remove();
    views.delete(id);
  }
}

// --- tasks ----------------------------------------------------------------------------------------

async function openTask(id) {
  state.openId = id;
  state.task = null;
  // Not where it is there already: that would take away what is ahead.
  if (addressed() !== id) location.hash = id === null ? "" : `task=${id}`;
  tasks.unfold(false);
  forgetViews();
  if (id !== null) await attempt(reloadTask);
  // An agent may have been installed, or have signed in, while this page was open.
  else attemptQuietly(whoAmI);
  showTask();
  tasks.show();
  $("messages").scrollTop = $("messages").scrollHeight;
  $("prompt").focus();
}

// The task in the answer becomes the open one, unless it is not wanted any more.
async function fetchTask(method, path, body, isWanted = () => true) {
  fetching++;
  try {
    const found = await call(method, path, body);
    if (isWanted()) {
      if (state.openId !== found.id) forgetViews();
      state.openId = found.id;
      state.task = found;
      early.forEach(([event, data]) => grow(event, data));
    }
    return found;
  } finally {
    if (--fetching === 0) early = [];
  }
}

async function reloadTask() {
  const id = state.openId;
  const turn = ++loading;
  if (id === null) return;
  const before = state.task?.status;
  const found = await fetchTask("GET", `/api/tasks/${id}`, undefined,
    () => id === state.openId && turn === loading);
  if (found !== state.task) return;
  showTask();
  if (isRunning(before ?? "") && !isRunning(found.status)) announceEnd(found);
  watchQueue();
}

function announceEnd(task) {
  const last = task.messages.at(-1);
  const words = last.error || last.text;
  announce(`${agentTitle(task.agent)}: ${statusWords(last.status)}. ${words.slice(0, SPOKEN)}`);
}

// Says the place in the queue until the open task's answer begins. The last call counts.
async function watchQueue() {
  const turn = ++watching;
  for (;;) {
    const { task } = state;
    const last = task?.messages.at(-1);
    const words = last && views.get(last.subtask_id)?.isSilent ? await waitingFor(task, last) : "";
    const view = last && views.get(last.subtask_id);
    if (turn !== watching || !view?.isSilent || !token.get()) return;
    view.showWaiting(words);
    await new Promise((done) => setTimeout(done, LOOK_AT_QUEUE_MS));
  }
}

async function waitingFor(task, message) {
  if (isHere(task.device_id)) return queueWords(message).catch(() => "");
  return state.devices.get(task.device_id)?.status === "busy" ? say("console.waiting_for_slot") : "";
}

async function send(message) {
  const { prompt, attachments, skills } = message;
  const made = state.task
    ? await fetchTask("POST", `/api/tasks/${state.task.id}/messages`, { prompt, attachments, skills })
    : await fetchTask("POST", "/api/tasks", message);
  location.hash = `task=${made.id}`;
  showTask();
  $("messages").scrollTop = $("messages").scrollHeight;
  announce(say("console.sent"));
  watchQueue();
  attemptQuietly(() => tasks.load());
}

async function act(verb) {
  const { id } = state.task;
  $("cancel").disabled = true;
  await attempt(async () => {
    await call("POST", `/api/tasks/${id}/${verb}`);
    await reloadTask();
  });
  $("cancel").disabled = false;
  $("prompt").focus();
}

// --- live -----------------------------------------------------------------------------------------

function onEvent(event, data) {
  switch (event) {
    case "device":
      onDevice(data);
      break;
    case "device_deleted":
      state.devices.delete(data.device_id);
      showDevices();
      break;
    case "delta":
    case "reasoning":
    case "note":
    case "tool":
      if (fetching && early.length < MAX_EARLY) early.push([event, data]);
      grow(event, data);
      break;
    case "changed":
      if (data.task_id === state.openId) attemptQuietly(reloadTask);
      attemptQuietly(() => tasks.load());
      break;
    case "deleted":
      if (data.task_id === state.openId) openTask(null);
      attemptQuietly(() => tasks.load());
      break;
    case "reload":
      attemptQuietly(loadAll);
  }
}

function onDevice(device) {
  const before = state.devices.get(device.device_id)?.status;
  state.devices.set(device.device_id, device);
  if (before && before !== device.status && [before, device.status].includes("offline")) {
    announce(`${device.name}: ${say(`console.device_${device.status}`)}`);
  }
  showDevices();
}

function grow(event, data) {
  const message = state.task && state.task.id === data.task_id
    ? state.task.messages.find((each) => each.subtask_id === data.subtask_id)
    : undefined;
  if (!message || data.rev <= message.rev) return;
  if (data.rev !== message.rev + 1) {
    attemptQuietly(reloadTask);
    return;
  }
  message.rev = data.rev;
  if (event === "delta") {
    message.text += data.delta;
  } else if (event === "reasoning") {
    message.reasoning += data.delta;
  } else if (event === "note") {
    message.note = data.words;
  } else {
    const at = message.tools.findLastIndex((tool) => tool.id === data.tool.id && tool.status === "running");
    if (at < 0) message.tools.push(data.tool);
    else message.tools[at] = data.tool;
  }
  views.get(message.subtask_id)?.showSoon();
}

async function loadDevices() {
  const { items } = await call("GET", "/api/devices");
  state.devices = new Map(items.map((device) => [device.device_id, device]));
  showDevices();
}

async function loadAll() {
  await whoAmI();
  await Promise.all([loadDevices(), tasks.load(), reloadTask().catch(giveUpTask)]);
  showTask();
}

function giveUpTask(error) {
  if (error.status !== 404) throw error;
  openTask(null);
  showProblem(error, $("problem"));
}

async function follow() {
  following.abort();
  following = new AbortController();
  const { signal } = following;
  let lastId = "";
  for (let failures = 0; ; failures++) {
    const onopen = async () => {
      // The stream is open, so nothing that happens from here on is missed.
      showProblem(null, $("problem"));
      await (lastId ? Promise.all([whoAmI(), loadDevices()]) : loadAll());
      state.connection = "up";
      failures = 0;
      showConnection();
      composer.show();
    };
    try {
      for await (const { id, event, data } of stream("/api/hub/events", { lastId, onopen, signal })) {
        onEvent(event, data);
        lastId = id;
      }
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (failures && !signal.aborted) showProblem(error, $("problem"));
    }
    if (signal.aborted) return;
    state.connection = "lost";
    showConnection();
    composer.show();
    await new Promise((done) => {
      wake = done;
      setTimeout(done, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
    });
  }
}

// --- start ----------------------------------------------------------------------------------------

const composer = new Composer({ onsend: send, oncancel: () => act("cancel"), attempt });
const access = new Access({ attempt });
new Help({ attempt });
const tasks = new History({ onopen: openTask, attempt });

function speak(language) {
  useLanguage(language);
  showConnection();
  forgetViews();
  composer.showFiles();
  showTask();
  tasks.show();
  watchQueue();
}

// The task that the address names; null where it names none.
function addressed() {
  const id = new URLSearchParams(location.hash.slice(1)).get("task") ?? "";
  return /^\d+$/.test(id) ? Number(id) : null;
}

async function enter() {
  const refused = await useTicket();
  // A used link is no matter while this tab is still signed in.
  if (token.get()) follow();
  else showSignIn(refused);
}

// A link that is pasted into this tab, and the buttons Back and Forward.
function onAddress() {
  if (location.hash.startsWith("#ticket=")) enter();
  else if (addressed() !== state.openId) openTask(addressed());
}

state.openId = addressed();
$("language").addEventListener("change", () => speak($("language").value));
onSignIn(follow);
onRefusal((problem) => { following.abort(); showSignIn(problem); });
$("try-now").addEventListener("click", () => wake());
$("skip").addEventListener("click", (event) => { event.preventDefault(); $("prompt").focus(); });
addEventListener("online", () => wake());
await loadTexts();
speak(preferredLanguage());
addEventListener("hashchange", onAddress);
await enter();
