// A button that opens a list of choices: radio buttons, so that keys and screen readers know them.

import { make } from "./dom.js";

export class Picker {
  constructor(root, onchange) {
    this.root = root;
    this.button = root.querySelector("button");
    this.value = root.querySelector(".value");
    this.panel = root.querySelector("fieldset");
    this.onchange = onchange;
    this.button.addEventListener("click", () => this.open(this.panel.hidden));
    root.addEventListener("keydown", (event) => {
      if (!["Escape", "Enter"].includes(event.key) || this.panel.hidden) return;
      event.preventDefault();
      this.open(false);
      this.button.focus();
    });
    root.addEventListener("focusout", (event) => {
      if (event.relatedTarget && !root.contains(event.relatedTarget)) this.open(false);
    });
    document.addEventListener("pointerdown", (event) => {
      if (!root.contains(event.target)) this.open(false);
    });
  }

  open(isOpen) {
    if (this.panel.hidden === !isOpen) return;
    this.panel.hidden = !isOpen;
    this.button.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) this.panel.querySelector("input:checked")?.focus();
  }

  // `choices`: { value, words: node, note: text, isUsable }; `chosen` is one of the values.
  show(choices, chosen) {
    const focused = this.panel.contains(document.activeElement) ? document.activeElement.value : null;
    const legend = this.panel.querySelector("legend");
    this.panel.replaceChildren(legend, ...choices.map((choice) => this.row(choice, chosen)));
    const found = choices.find((choice) => choice.value === chosen);
    this.value.replaceChildren(found ? found.words.cloneNode(true) : "");
    if (focused !== null) this.panel.querySelector(`input[value="${CSS.escape(focused)}"]`)?.focus();
  }

  row({ value, words, note = "", isUsable = true }, chosen) {
    const input = make("input", {
      type: "radio", name: this.root.id, value, checked: value === chosen, disabled: !isUsable,
      onchange: () => this.onchange(value),
    });
    // Arrow keys choose as well, with clicks that no pointer made: the list stays open for them.
    const close = (event) => { if (event.detail > 0 && isUsable) this.open(false); };
    const label = make("span", {}, words, note ? make("small", { text: note }) : null);
    return make("label", { class: isUsable ? "" : "off", onclick: close }, input, label);
  }
}
