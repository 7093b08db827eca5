// What the page knows, and the words for it that several of its parts use.

import { dot, make, say } from "./dom.js";

export const state = {
  devices: new Map(),
  agents: [],         // of this computer; empty for users who are not its owner
  computer: null,     // the executor's own status; null for users who are not its owner
  user: "",
  isOwner: false,
  task: null,         // the open task with its messages; null is a new one
  openId: null,       // what the user asked to see, while it is being fetched
  connection: "none", // none, until the first one stands · up · lost
};

// Agents of other devices, of which nothing is known from here.
const ELSEWHERE = { claude_code: "Claude Code", codex: "Codex", opencode: "OpenCode" };

export const isRunning = (status) => status === "RUNNING" || status === "PENDING";
export const statusWords = (status) => say(`console.status_${status.toLowerCase()}`);
export const isHere = (deviceId) => state.computer !== null && deviceId === state.computer.device_id;

export const agentsOn = (deviceId) => isHere(deviceId)
  ? state.agents
  : Object.entries(ELSEWHERE).map(([name, title]) => ({ name, title, is_usable: true }));

export const agentTitle = (name) =>
  state.agents.find((agent) => agent.name === name)?.title ?? ELSEWHERE[name] ?? name;

export function deviceState(device) {
  const slots = device.slot_max && device.status !== "offline"
    ? say("console.slots", { used: device.slot_used, max: device.slot_max })
    : "";
  return [say(`console.device_${device.status}`), slots].filter(Boolean).join(say("console.comma"));
}

export function deviceLine(device) {
  return make("span", { class: "device" },
    dot(device.status),
    make("bdi", { text: device.name }),
    device.is_default ? star() : null,
    make("span", { class: "quiet", text: ` · ${deviceState(device)}` }));
}

const star = () => make("span", { class: "star", role: "img", "aria-label": say("console.is_default"), text: " ★" });
