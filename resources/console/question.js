// The question whether something shall go, in the page, below the row of a list that stands for it.

import { $, button, make, say } from "./dom.js";

export class Question {
  // `show` shows the rows of `list` anew; `rest` gets the focus when what had it is gone.
  constructor(list, { show, rest }) {
    this.list = $(list);
    this.show = show;
    this.rest = $(rest);
    this.key = "";
  }

  opener(key, name, { text = say("console.delete"), ...more } = {}) {
    return button(text, () => this.ask(key), {
      class: "small", "data-act": `delete-${key}`, "aria-label": say("console.delete_name", { name }), ...more,
    });
  }

  // The row, with the question where it is this one's turn; `work` lets it go.
  below(row, key, words, work) {
    if (this.key !== key) return row;
    const yes = button(say("console.delete"), async () => {
      this.key = "";
      await work();
      this.show();
      if (document.activeElement === document.body) this.rest.focus();
    }, { class: "danger", "data-act": `yes-${key}` });
    row.append(make("div", { class: "question", role: "alert" }, make("p", { text: words }), yes,
      button(say("console.keep"), () => this.ask(""), { "data-act": `no-${key}` })));
    return row;
  }

  ask(key) {
    const wanted = key ? `no-${key}` : `delete-${this.key}`;
    this.key = key;
    this.show();
    this.list.querySelector(`[data-act="${CSS.escape(wanted)}"]`)?.focus();
  }
}
