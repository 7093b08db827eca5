// The dialog of skills: those that are there, further ones, and which of them go with what is sent.

import { call, upload } from "./api.js";
import { $, announce, make, replaceRows, say, size } from "./dom.js";
import { Question } from "./question.js";

export class Skills {
  // `chosen` are the names that go along; `onchange` is told of others.
  constructor({ attempt, onchange }) {
    this.attempt = (work) => attempt(work, $("skills-problem"));
    this.onchange = onchange;
    this.all = null;  // not asked for yet
    this.chosen = [];
    this.question = new Question("skills-list", { show: () => this.show(), rest: "add-skill" });
    $("open-skills").addEventListener("click", () => this.open());
    $("close-skills").addEventListener("click", () => $("skills").close());
    $("skills").addEventListener("close", () => { this.question.key = ""; });
    $("add-skill").addEventListener("click", () => $("skill-file").click());
    $("skill-file").addEventListener("change", () => this.add([...$("skill-file").files]));
  }

  async open() {
    $("skills-problem").hidden = true;
    this.show();
    $("skills").showModal();
    await this.load();
  }

  async load() {
    await this.attempt(async () => {
      this.all = (await call("GET", "/api/skills")).items;
      this.choose(this.chosen.filter((name) => this.all.some((skill) => skill.name === name)));
    });
  }

  choose(names) {
    this.chosen = names;
    this.show();
    this.onchange();
  }

  show() {
    replaceRows($("skills-list"), (this.all ?? []).map((skill) => this.row(skill)));
    $("no-skills").hidden = this.all === null || this.all.length > 0;
  }

  row({ id, name, size: bytes }) {
    const choice = make("input", {
      type: "checkbox", "data-act": `use-${id}`, checked: this.chosen.includes(name),
      onchange: ({ target }) => this.choose(
        target.checked ? [...this.chosen, name] : this.chosen.filter((each) => each !== name)),
    });
    const row = make("li", {},
      make("label", { class: "choice" }, choice, make("bdi", { text: name }),
        make("span", { class: "quiet", text: size(bytes) })),
      make("div", { class: "acts" }, this.question.opener(`skill-${id}`, name)));
    return this.question.below(row, `skill-${id}`, say("console.delete_skill", { name }), () =>
      this.attempt(async () => { await call("DELETE", `/api/skills/${id}`); await this.load(); }));
  }

  async add(files) {
    $("skill-file").value = "";
    $("adding-skill").hidden = false;
    for (const file of files) {
      const made = await this.attempt(() => upload("/api/skills", file));
      if (!made) break;
      announce(say("console.skill_added", { name: made.name }));
    }
    $("adding-skill").hidden = true;
    // What was refused is still said: asking anew would take it away.
    if ($("skills-problem").hidden) await this.load();
  }
}
