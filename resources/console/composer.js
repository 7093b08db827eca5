// Where a person says what to do, on which device, by which agent, and with which files.

import { call, upload } from "./api.js";
import { $, button, make, say, size } from "./dom.js";
import { Picker } from "./picker.js";
import { Skills } from "./skills.js";
import { agentsOn, agentTitle, deviceLine, isRunning, state } from "./state.js";

const DRAFT = "wegent.draft";

export class Composer {
  constructor({ onsend, oncancel, attempt }) {
    this.onsend = onsend;
    this.attempt = attempt;
    this.files = [];
    this.deviceId = "";
    this.agent = "";
    this.uploads = 0;
    this.isBusy = false;
    this.devices = new Picker($("device-picker"), (value) => { this.deviceId = value; this.show(); });
    this.agents = new Picker($("agent-picker"), (value) => { this.agent = value; this.show(); });
    this.skills = new Skills({ attempt, onchange: () => { this.keepDraft(); this.showFiles(); } });
    this.takeUpDraft();
    $("cancel").addEventListener("click", oncancel);
    $("composer").addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
    $("prompt").addEventListener("input", () => this.keepDraft());
    $("prompt").addEventListener("keydown", (event) => {
      // While an input method composes, Enter belongs to it. Safari ends the composition first and
      // says so with the code 229 only.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.send();
    });
    $("attach").addEventListener("click", () => $("files").click());
    $("files").addEventListener("change", () => {
      this.addFiles($("files").files);
      $("files").value = "";
    });
    $("prompt").addEventListener("paste", (event) => this.takeFiles(event, event.clipboardData));
    $("composer").addEventListener("dragover", (event) => event.preventDefault());
    $("composer").addEventListener("drop", (event) => this.takeFiles(event, event.dataTransfer));
  }

  // --- what is written stays, also over a reload ------------------------------------------------

  keepDraft() {
    const draft = { prompt: $("prompt").value, files: this.files, skills: this.skills.chosen };
    sessionStorage.setItem(DRAFT, JSON.stringify(draft));
  }

  takeUpDraft() {
    const { prompt = "", files = [], skills = [] } = JSON.parse(sessionStorage.getItem(DRAFT) ?? "{}");
    $("prompt").value = prompt;
    this.files = files;
    this.skills.chosen = skills;
    this.showFiles();
  }

  // Only what was sent: meanwhile more may have been written and chosen.
  clear({ words, files, skills }) {
    const { value } = $("prompt");
    if (value.startsWith(words)) $("prompt").value = value.slice(words.length).trimStart();
    this.files = this.files.filter((each) => !files.includes(each));
    this.skills.chosen = this.skills.chosen.filter((each) => !skills.includes(each));
    this.keepDraft();
    this.showFiles();
  }

  // --- files ------------------------------------------------------------------------------------

  takeFiles(event, from) {
    if (!from.files.length) return;
    event.preventDefault();
    this.addFiles(from.files);
  }

  async addFiles(files) {
    for (const file of [...files]) {
      this.uploads++;
      this.show();
      const path = `/api/attachments?name=${encodeURIComponent(file.name)}`;
      const made = await this.attempt(() => upload(path, file));
      this.uploads--;
      if (made) this.files.push(made);
      this.keepDraft();
      this.showFiles();
      this.show();
    }
  }

  showFiles() {
    const files = this.files.map((file) =>
      chip(`${file.name} (${size(file.size)})`, file.name, () => this.removeFile(file)));
    const skills = this.skills.chosen.map((name) =>
      chip(say("console.skill_chosen", { name }), name, () => this.removeSkill(name)));
    $("chosen-files").replaceChildren(...files, ...skills);
    $("chosen-files").hidden = !files.length && !skills.length;
  }

  removeSkill(name) {
    this.skills.choose(this.skills.chosen.filter((each) => each !== name));
    $("prompt").focus();
  }

  removeFile(file) {
    this.files = this.files.filter((each) => each !== file);
    this.keepDraft();
    this.showFiles();
    $("prompt").focus();
    // One that is gone already is gone; what stays behind is forgotten within a day.
    call("DELETE", `/api/attachments/${file.id}`).catch(() => {});
  }

  // --- sending ----------------------------------------------------------------------------------

  device() {
    const all = [...state.devices.values()];
    const wanted = state.task ? state.task.device_id : this.deviceId;
    return state.devices.get(wanted) ?? (state.task ? undefined
      : all.find((device) => device.is_default) ?? all[0]);
  }

  // Why nothing can be sent now; empty where it can.
  obstacle() {
    if (state.connection !== "up") return "";  // said at the top of the page
    const device = this.device();
    if (!device) return say(state.task ? "console.device_gone" : "console.no_device");
    if (device.status === "offline") return say("console.device_away", { name: device.name });
    return "";
  }

  async send() {
    const sent = { words: $("prompt").value, files: [...this.files], skills: this.skills.chosen };
    const prompt = sent.words.trim();
    if (!prompt || $("send").disabled) return;
    this.isBusy = true;
    this.show();
    const attachments = sent.files.map((file) => file.id);
    const choice = state.task ? {} : { device_id: this.device()?.device_id, agent: this.agent || undefined };
    const isSent = await this.attempt(() => this.onsend({ prompt, attachments, skills: sent.skills, ...choice }));
    this.isBusy = false;
    if (isSent) this.clear(sent);
    this.show();
    $("prompt").focus();
  }

  show() {
    const device = this.device();
    const obstacle = this.obstacle();
    const running = state.task !== null && isRunning(state.task.status);
    $("choices").hidden = state.task !== null || state.devices.size === 0;
    this.devices.show([...state.devices.values()].map((each) => ({
      value: each.device_id, words: deviceLine(each),
    })), device?.device_id);
    this.showAgents(device);
    $("prompt").placeholder = say(state.task ? "console.placeholder_next" : "console.placeholder");
    $("cancel").hidden = !running;
    $("obstacle").hidden = !obstacle;
    $("obstacle").textContent = obstacle;
    $("send").disabled = running || this.isBusy || this.uploads > 0 || Boolean(obstacle)
      || state.connection === "lost";
    $("uploading").hidden = this.uploads === 0;
  }

  showAgents(device) {
    const agents = device ? agentsOn(device.device_id) : [];
    if (agents.every((agent) => agent.name !== this.agent || !agent.is_usable)) this.agent = "";
    const automatic = { value: "", words: make("span", { text: say("console.automatic") }), note: say("console.automatic_note") };
    this.agents.show([automatic, ...agents.map((agent) => ({
      value: agent.name,
      words: make("span", {}, agentTitle(agent.name),
        agent.version ? make("span", { class: "quiet", text: ` ${agent.version}` }) : null),
      note: whyNot(agent),
      isUsable: agent.is_usable,
    }))], this.agent);
  }
}

const chip = (words, name, onremove) => make("li", {}, make("span", { text: words }),
  button("✕", onremove, { class: "plain small", "aria-label": say("console.remove_file", { name }) }));

const whyNot = ({ problem }) =>
  problem ? [problem.title, problem.detail, problem.hint].filter(Boolean).join(" · ") : "";
