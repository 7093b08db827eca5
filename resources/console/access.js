// The dialog of devices, and of the tokens and keys with which further ones come to this hub.

import { call } from "./api.js";
import { $, announce, button, copyButton, make, moment, replaceRows, say } from "./dom.js";
import { Question } from "./question.js";
import { deviceLine, isHere, state } from "./state.js";

export class Access {
  constructor({ attempt }) {
    this.attempt = (work) => attempt(work, $("access-problem"));
    this.keys = null;  // not asked for yet
    this.question = new Question("access", { show: () => this.showAll(), rest: "close-access" });
    $("open-access").addEventListener("click", () => this.open());
    $("close-access").addEventListener("click", () => $("access").close());
    // What was shown once is not there for the next one who opens the dialog.
    $("access").addEventListener("close", () => {
      $("granted").replaceChildren();
      this.question.key = "";
      this.keys = null;
      this.showKeys();
    });
    $("new-key").addEventListener("submit", (event) => { event.preventDefault(); this.newKey(); });
    $("new-token").addEventListener("click", () => this.newToken());
    // The draft goes as well: the next one who signs in here may be somebody else.
    $("sign-out").addEventListener("click", () => { sessionStorage.clear(); location.assign("/"); });
  }

  async open() {
    $("access-problem").hidden = true;
    $("grants").hidden = !state.isOwner;
    $("signed-in").textContent = say("console.signed_in", { user: state.user });
    this.showAll();
    $("access").showModal();
    if (state.isOwner) await this.loadKeys();
  }

  // --- devices ----------------------------------------------------------------------------------

  show() {
    replaceRows($("devices"), [...state.devices.values()].map((device) => this.deviceRow(device)));
    $("no-devices").hidden = state.devices.size > 0;
  }

  deviceRow(device) {
    const { device_id: id, name, is_default: isDefault } = device;
    const path = `/api/devices/${encodeURIComponent(id)}`;
    const facts = [isHere(id) ? say("console.this_computer") : "", device.executor_version ?? ""];
    const row = make("li", {},
      make("div", {}, deviceLine(device),
        make("div", { class: "quiet", text: facts.filter(Boolean).join(" · ") })),
      make("div", { class: "acts" },
        button(say(isDefault ? "console.unset_default" : "console.set_default"),
          () => this.attempt(() => call(isDefault ? "DELETE" : "PUT", `${path}/default`)), {
            class: "small", "data-act": `default-${id}`,
            "aria-label": say(isDefault ? "console.unset_default_of" : "console.set_default_of", { name }),
          }),
        this.question.opener(`device-${id}`, name)));
    const words = say(isHere(id) ? "console.delete_here" : "console.delete_device", { name });
    return this.question.below(row, `device-${id}`, words, () => this.attempt(() => call("DELETE", path)));
  }

  showAll() {
    this.show();
    this.showKeys();
  }

  // --- tokens and keys --------------------------------------------------------------------------

  async loadKeys() {
    const answer = await this.attempt(() => call("GET", "/api/hub/keys"));
    this.keys = answer?.items ?? [];
    this.showKeys();
  }

  showKeys() {
    replaceRows($("keys-list"), (this.keys ?? []).map((key) => {
      const row = make("li", {},
        make("div", {}, make("bdi", { text: key.name }),
          make("div", { class: "quiet", text: `${key.user} · ${moment(key.created_at)}` })),
        make("div", { class: "acts" }, this.question.opener(`key-${key.id}`, key.name)));
      return this.question.below(row, `key-${key.id}`, say("console.delete_key", { name: key.name }),
        () => this.attempt(async () => { await call("DELETE", `/api/hub/keys/${key.id}`); await this.loadKeys(); }));
    }));
    $("no-keys").hidden = Boolean(this.keys?.length);
    // Its place is kept while they are asked for: nothing may move away under the mouse.
    $("no-keys").classList.toggle("pending", this.keys === null);
  }

  async newKey() {
    const name = $("key-name").value.trim() || say("console.key_default_name");
    const made = await this.attempt(() => call("POST", "/api/hub/keys", { name }));
    if (!made) return;
    $("key-name").value = "";
    this.grant(say("console.key_made", { name: made.name }), made.key);
    await this.loadKeys();
  }

  async newToken() {
    const made = await this.attempt(() => call("POST", "/api/hub/tokens", {}));
    if (made) this.grant(say("console.token_made", { date: moment(made.expires_at) }), made.token);
  }

  grant(words, secret) {
    const commands = [
      `wegent-executor login --backend-url ${location.origin} --token -`,
      "wegent-executor --no-gui",
    ];
    $("granted").replaceChildren(
      make("h4", { text: words }),
      make("p", { text: say("console.shown_once") }),
      make("div", { class: "secret" }, make("code", { text: secret }), copyButton(secret)),
      make("p", { text: say("console.how_to_connect") }),
      ...commands.map((line) => make("div", { class: "secret" }, make("code", { text: line }), copyButton(line))),
      make("p", { class: "quiet", text: say("console.other_computers", { address: location.host }) }));
    $("granted").scrollIntoView({ block: "nearest" });
    announce(words);
  }
}
