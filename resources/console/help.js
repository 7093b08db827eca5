// The help pages in a dialog: a list of the topics, and the chosen page below.

import { call } from "./api.js";
import { $, make, say } from "./dom.js";
import { Flow } from "./markdown.js";

export class Help {
  constructor({ attempt }) {
    this.attempt = (work) => attempt(work, $("help-problem"));
    this.flow = new Flow($("help-page"));
    $("open-help").addEventListener("click", () => { $("help").showModal(); this.show("console"); });
    $("close-help").addEventListener("click", () => $("help").close());
    $("topic").addEventListener("change", () => this.show($("topic").value));
  }

  async show(topic) {
    $("help-problem").hidden = true;
    const path = `/console/help/${$("language").value}/${topic}.json`;
    const found = await this.attempt(() => call("GET", path));
    if (!found) return;
    $("topic").replaceChildren(...found.topics.map(([name, title]) =>
      make("option", { value: name, text: title })));
    $("topic").value = topic;
    this.flow.begin();
    this.flow.show(found.text);
    $("help-page").setAttribute("aria-label", say("console.help_on", { title: found.title }));
    $("help").scrollTop = 0;
  }
}
