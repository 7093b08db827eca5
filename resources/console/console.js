// The console: one user's devices and tasks, live. Text from outside is only ever textContent.

const TOKEN = "wegent.token";
const LANGUAGE = "wegent.language";
const RETRY_MS = [1000, 2000, 5000, 10000];
const SHORT_REASONING = 300;
const $ = (id) => document.getElementById(id);

let texts = {};
let devices = new Map();
let tasks = [];
let hasMore = false;
let task = null;        // the open task with its messages; null is a new one
let openId = null;      // what the user asked to see, while it is being fetched
let problem = null;
let loading = 0;
let connection = "none";  // none, until the first one stands · up · lost
let agents = [];        // what the executor says of its agents; empty where the hub has none

const say = (key, values = {}) =>
  (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

function make(tag, className = "", content = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (content) node.textContent = content;
  return node;
}

// --- talking to the hub ---------------------------------------------------------------------------

class Problem extends Error {
  constructor(status, words) {
    super(words.title);
    this.status = status;
    this.words = words;
  }
}

async function call(method, path, body) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(TOKEN) ?? ""}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Problem(0, { title: say("console.unreachable"), detail: say("console.unreachable_detail") });
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, answer.error ?? { title: response.statusText });
  return answer;
}

async function attempt(work) {
  try {
    showProblem(null);
    return await work();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    showProblem(error);
    return undefined;
  }
}

function showProblem(error) {
  problem = error;
  const words = error?.words ?? {};
  $("problem").hidden = !error;
  $("problem").querySelector("strong").textContent = words.title ?? "";
  $("problem").querySelector("span").textContent = [words.detail, words.hint].filter(Boolean).join(" ");
}

async function signIn() {
  const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
  if (!ticket) return;
  history.replaceState(null, "", location.pathname);
  try {
    sessionStorage.setItem(TOKEN, (await call("POST", "/api/auth/ticket", { ticket })).token);
  } catch (error) {
    // A used link is no matter while this tab is still signed in.
    if (!sessionStorage.getItem(TOKEN)) showProblem(error);
  }
}

// --- language -------------------------------------------------------------------------------------

async function useLanguage(language) {
  localStorage.setItem(LANGUAGE, language);
  $("language").value = language;
  document.documentElement.lang = language === "zh_CN" ? "zh-CN" : "en";
  texts = await (await fetch(`/console/texts/${language}.json`)).json();
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = say(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", say(node.dataset.label));
  for (const node of document.querySelectorAll("[data-placeholder]")) node.placeholder = say(node.dataset.placeholder);
  $("open-history").setAttribute("aria-label", say("console.history"));
  showDevices();
  showTasks();
  showTask();
}

// --- devices --------------------------------------------------------------------------------------

// Drawn, not an emoji: a fresh Linux machine has no font for those.
const dot = (status) => make("span", `dot ${status}`);

function deviceWords(device) {
  const slots = device.slot_max
    ? say("console.slots", { used: device.slot_used, max: device.slot_max })
    : "";
  const state = [say(`console.device_${device.status}`), device.status === "offline" ? "" : slots];
  return `${device.name} · ${state.filter(Boolean).join(say("console.comma"))}`;
}

function chosenDevice() {
  const all = [...devices.values()];
  const wanted = task ? task.device_id : $("device-id").value;
  return devices.get(wanted) ?? all.find((device) => device.is_default) ?? all[0];
}

function showDevices() {
  const chosen = chosenDevice();
  const select = $("device-id");
  select.replaceChildren(...[...devices.values()].map((device) => {
    const option = make("option", "", `${device.is_default ? "★ " : ""}${deviceWords(device)}`);
    option.value = device.device_id;
    option.selected = device === chosen;
    return option;
  }));
  $("device-choice").hidden = devices.size < 2 || task !== null;
  const words = {
    none: "",
    up: chosen ? deviceWords(chosen) : say("console.no_device"),
    lost: say("console.unreachable"),
  }[connection];
  $("device").replaceChildren(dot(connection === "up" && chosen ? chosen.status : "offline"), words);
}

async function loadDevices() {
  const { items } = await call("GET", "/api/devices");
  devices = new Map(items.map((device) => [device.device_id, device]));
  showDevices();
}

async function loadAgents() {
  // Standalone executors name their agents here; other hubs need not.
  const response = await fetch("/health/agents").catch(() => null);
  const answer = response?.ok ? await response.json().catch(() => ({})) : {};
  agents = Array.isArray(answer.agents) ? answer.agents.filter((agent) => typeof agent.name === "string") : [];
  const usable = agents.filter((agent) => agent.usable !== false);
  const automatic = make("option", "", say("console.automatic"));
  automatic.value = "";
  $("agent").replaceChildren(automatic, ...usable.map((agent) => {
    const option = make("option", "", agent.title ?? agent.name);
    option.value = agent.name;
    return option;
  }));
  $("agent-choice").hidden = usable.length < 2 || task !== null;
  showStandIn();
}

const titleOf = (name) => agents.find((agent) => agent.name === name)?.title ?? name;

function showStandIn() {
  const demo = agents.find((agent) => agent.name === "demo");
  const missing = agents.filter((agent) => agent.usable === false).map((agent) => agent.title ?? agent.name);
  $("stand-in").hidden = !demo || !missing.length;
  $("stand-in").textContent = say("console.stand_in", { missing: missing.join(", ") });
}

// --- tasks ----------------------------------------------------------------------------------------

const isRunning = (status) => status === "RUNNING" || status === "PENDING";
const statusWords = (status) => say(`console.status_${status.toLowerCase()}`);

function showTasks() {
  $("tasks").replaceChildren(...tasks.map((each) => {
    const item = make("li");
    const button = make("button");
    button.type = "button";
    button.append(make("span", "title", each.title), make("span", "status", statusWords(each.status)));
    if (each.id === openId) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => openTask(each.id));
    item.append(button);
    return item;
  }));
  $("more").hidden = !hasMore;
}

async function loadTasks() {
  const answer = await call("GET", `/api/tasks?limit=${Math.min(Math.max(tasks.length, 50), 200)}`);
  tasks = answer.items;
  hasMore = answer.has_more;
  showTasks();
}

async function loadMore() {
  const answer = await call("GET", `/api/tasks?before=${tasks.at(-1).id}`);
  tasks = [...tasks, ...answer.items];
  hasMore = answer.has_more;
  showTasks();
}

async function openTask(id) {
  openId = id;
  location.hash = id === null ? "" : `task=${id}`;
  closeHistory();
  if (id === null) {
    task = null;
    showTask();
  } else {
    await attempt(reloadTask);
    $("messages").scrollTop = $("messages").scrollHeight;
  }
  showTasks();
  showDevices();
  $("agent-choice").hidden = $("agent").options.length < 3 || id !== null;
  $("prompt").focus();
}

async function reloadTask() {
  const id = openId;
  const turn = ++loading;
  if (id === null) return;
  const found = await call("GET", `/api/tasks/${id}`);
  if (id !== openId || turn !== loading) return;
  task = found;
  showTask();
}

function showTask() {
  const box = $("messages");
  const wasAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 80;
  const unfolded = new Set([...box.querySelectorAll("details[open]")].map((node) => node.dataset.id));
  box.replaceChildren(...(task?.messages ?? []).map((message, index, all) =>
    messageNode(message, index === all.length - 1, unfolded)));
  $("welcome").hidden = task !== null;
  const running = task !== null && isRunning(task.status);
  $("cancel").hidden = !running;
  $("send").disabled = running;
  if (wasAtEnd) box.scrollTop = box.scrollHeight;
}

function messageNode(message, isLast, unfolded) {
  const isUser = message.role === "USER";
  const node = make("article", isUser ? "user" : "agent");
  node.dataset.id = message.subtask_id;
  node.append(make("h3", "", isUser ? say("console.you") : `${titleOf(task.agent)} · ${statusWords(message.status)}`));
  if (message.reasoning) node.append(reasoningNode(message, unfolded));
  for (const tool of message.tools) node.append(toolNode(tool, unfolded));
  node.append(make("div", "text", message.text));
  if (message.error) node.append(make("p", "error", message.error));
  if (isRunning(message.status)) node.setAttribute("aria-busy", "true");
  if (isLast && ["FAILED", "CANCELLED"].includes(message.status)) {
    const retry = make("button", "", say("console.retry"));
    retry.type = "button";
    retry.addEventListener("click", () => act("retry"));
    node.append(retry);
  }
  return node;
}

// A line or two is read at once: what the executor itself has to say comes this way as well.
function reasoningNode({ subtask_id: id, reasoning }, unfolded) {
  if (reasoning.length <= SHORT_REASONING) return make("p", "aside", reasoning.trim());
  return fold(`reasoning-${id}`, say("console.reasoning"), [reasoning], unfolded);
}

const TOOL_SIGNS = { running: "⏳", done: "✓", failed: "✗", stopped: "■" };

function toolNode(tool, unfolded) {
  const title = `${TOOL_SIGNS[tool.status]} ${tool.name} · ${say(`console.tool_${tool.status}`)}`;
  return fold(`tool-${tool.id}`, title, [readable(tool.input), tool.output], unfolded);
}

function fold(id, title, parts, unfolded) {
  const node = make("details");
  node.dataset.id = id;
  node.open = unfolded.has(id);
  node.append(make("summary", "", title), ...parts.map((part) => make("pre", "", part)));
  return node;
}

function readable(input) {
  try {
    return JSON.stringify(JSON.parse(input), null, 2);
  } catch {
    return input;
  }
}

// --- what the user does ---------------------------------------------------------------------------

async function send() {
  const prompt = $("prompt").value.trim();
  if (!prompt || $("send").disabled) return;
  $("send").disabled = true;
  const made = await attempt(() => task
    ? call("POST", `/api/tasks/${task.id}/messages`, { prompt })
    : call("POST", "/api/tasks", {
      prompt,
      device_id: chosenDevice()?.device_id,
      agent: $("agent").value || undefined,
    }));
  $("send").disabled = false;
  if (!made) return;
  $("prompt").value = "";
  openId = made.id;
  location.hash = `task=${made.id}`;
  await attempt(() => Promise.all([reloadTask(), loadTasks()]));
  $("messages").scrollTop = $("messages").scrollHeight;
}

async function act(verb) {
  const id = task.id;
  await attempt(async () => {
    await call("POST", `/api/tasks/${id}/${verb}`);
    await reloadTask();
  });
}

function closeHistory() {
  $("history").classList.remove("open");
  $("open-history").setAttribute("aria-expanded", "false");
}

// --- live -----------------------------------------------------------------------------------------

function onEvent(event, data) {
  const message = task && task.id === data.task_id
    ? task.messages.find((each) => each.subtask_id === data.subtask_id)
    : undefined;
  switch (event) {
    case "device":
      devices.set(data.device_id, data);
      showDevices();
      break;
    case "device_deleted":
      devices.delete(data.device_id);
      showDevices();
      break;
    case "delta":
    case "reasoning":
    case "tool":
      if (message) grow(message, event, data);
      break;
    case "changed":
      if (data.task_id === openId) attemptQuietly(reloadTask);
      attemptQuietly(loadTasks);
      break;
    case "deleted":
      if (data.task_id === openId) openTask(null);
      attemptQuietly(loadTasks);
      break;
    case "reload":
      attemptQuietly(loadAll);
  }
}

function grow(message, event, data) {
  if (data.rev <= message.rev) return;
  if (data.rev !== message.rev + 1) {
    attemptQuietly(reloadTask);
    return;
  }
  message.rev = data.rev;
  if (event === "delta") {
    message.text += data.delta;
    appendText(message, data.delta);
    return;
  }
  if (event === "reasoning") {
    message.reasoning += data.delta;
  } else {
    const at = message.tools.findLastIndex((tool) => tool.id === data.tool.id && tool.status === "running");
    if (at < 0) message.tools.push(data.tool);
    else message.tools[at] = data.tool;
  }
  showTask();
}

function appendText(message, delta) {
  const box = $("messages");
  const wasAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 80;
  box.querySelector(`article[data-id="${message.subtask_id}"] .text`)?.append(delta);
  if (wasAtEnd) box.scrollTop = box.scrollHeight;
}

function attemptQuietly(work) {
  // What fails here is tried again with the next event or the next connection.
  Promise.resolve(work()).catch((error) => {
    if (!(error instanceof Problem)) throw error;
  });
}

async function loadAll() {
  await Promise.all([loadDevices(), loadTasks(), reloadTask()]);
}

async function follow() {
  let lastId = "";
  let failures = 0;
  for (;;) {
    try {
      const headers = { Authorization: `Bearer ${sessionStorage.getItem(TOKEN) ?? ""}` };
      if (lastId) headers["Last-Event-ID"] = lastId;
      const response = await fetch("/api/hub/events", { headers });
      if (response.status === 401) {
        showProblem(new Problem(401, { title: say("console.signed_out"), detail: say("console.signed_out_detail") }));
        return;
      }
      if (!response.ok) throw new Error(String(response.status));
      // The stream is open, so nothing that happens from here on is missed.
      connection = "up";
      await (lastId ? loadDevices() : loadAll());
      if (failures) showProblem(null);
      failures = 0;
      for await (const { id, event, data } of events(response.body)) {
        onEvent(event, data);
        lastId = id;
      }
    } catch {
      // Said below; the next attempt goes on where this one stopped.
    }
    connection = "lost";
    showDevices();
    if (failures++) {
      showProblem(new Problem(0, { title: say("console.unreachable"), detail: say("console.unreachable_detail") }));
    }
    await new Promise((done) => setTimeout(done, RETRY_MS[Math.min(failures, RETRY_MS.length) - 1]));
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
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
}

// --- start ----------------------------------------------------------------------------------------

$("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); send(); }
});
$("cancel").addEventListener("click", () => act("cancel"));
$("new-task").addEventListener("click", () => openTask(null));
$("more").addEventListener("click", () => attempt(loadMore));
$("device-id").addEventListener("change", showDevices);
$("language").addEventListener("change", async () => { await useLanguage($("language").value); await loadAgents(); });
$("open-history").addEventListener("click", () => {
  const isOpen = $("history").classList.toggle("open");
  $("open-history").setAttribute("aria-expanded", String(isOpen));
});

const wanted = new URLSearchParams(location.hash.slice(1)).get("task");
openId = wanted && /^\d+$/.test(wanted) ? Number(wanted) : null;
await useLanguage(localStorage.getItem(LANGUAGE) ?? (navigator.language.startsWith("zh") ? "zh_CN" : "en"));
await signIn();
if (sessionStorage.getItem(TOKEN)) {
  await loadAgents();
  follow();
} else if (!problem) {
  showProblem(new Problem(401, { title: say("console.signed_out"), detail: say("console.signed_out_detail") }));
}
