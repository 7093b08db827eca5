// A small part of Markdown as nodes: code, lists, headings, bold, links. Nothing else is read into
// the text, and no markup in it ever becomes any.

import { copyButton, make } from "./dom.js";

const MAX_BLOCK = 20000;  // longer ones go on in a further block, so that showing stays cheap
const STILL_GROWING = 2;  // the next words may join the last block, or make two blocks one

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]{0,30}).*$/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const INLINE = new RegExp([
  /(`{1,2})([^`\n]{1,2000})\1/,
  /\*\*([^*\n]{1,2000})\*\*/,
  /\[([^[\]\n]{1,300})\]\((https?:\/\/[^\s()<>]{1,2000})\)/,
  /(https?:\/\/[^\s<>"'`()（），。]{1,2000})/,
].map((part) => part.source).join("|"), "g");

// Shows a text that grows. What is finished stays as it is; only the end is made anew.
export class Flow {
  constructor(root) {
    this.root = root;
    this.begin();
  }

  begin() {
    this.text = "";
    this.done = { at: 0, fence: null };
    this.loose = [];
    this.root.replaceChildren();
  }

  show(text) {
    if (text === this.text) return;
    if (!text.startsWith(this.text)) this.begin();
    this.text = text;
    for (const { node } of this.loose) node.remove();
    this.loose = [];
    for (let next = this.done; (next = block(text, next)) !== null;) {
      this.root.append(next.node);
      this.loose.push(next);
    }
    while (this.loose.length > STILL_GROWING) this.done = this.loose.shift();
  }
}

function lineAt(text, at) {
  const end = text.indexOf("\n", at);
  const stop = Math.min(end < 0 ? text.length : end, at + MAX_BLOCK);
  return { line: text.slice(at, stop), next: stop + (stop === end ? 1 : 0) };
}

// The block that begins at `at`: its node, where it ends, and the code it may have left open.
function block(text, { at, fence }) {
  if (fence && at < text.length) return code(text, at, fence);
  for (;;) {
    if (at >= text.length) return null;
    const { line, next } = lineAt(text, at);
    if (line.trim()) break;
    at = next;
  }
  const { line, next } = lineAt(text, at);
  const [, marks, language] = FENCE.exec(line) ?? [];
  if (marks) return code(text, next, { marks, language });
  const heading = HEADING.exec(line);
  if (heading) return { node: inline(make("p", { class: "heading" }), heading[2]), at: next, fence: null };
  if (line.startsWith("|")) return lines(text, at, (each) => each.startsWith("|"), table);
  if (ITEM.test(line)) return lines(text, at, (each) => ITEM.test(each) || /^\s+\S/.test(each), list);
  return lines(text, at, isProse, (found) => inline(make("p"), found.join("\n")));
}

const isProse = (line) =>
  line.trim() && !FENCE.test(line) && !HEADING.test(line) && !ITEM.test(line) && !line.startsWith("|");

function lines(text, at, belongs, build) {
  const found = [];
  const start = at;
  while (at < text.length && at - start < MAX_BLOCK) {
    const { line, next } = lineAt(text, at);
    if (found.length && !belongs(line)) break;
    found.push(line);
    at = next;
  }
  return { node: build(found), at, fence: null };
}

function code(text, at, fence) {
  const found = [];
  const start = at;
  let open = fence;
  while (at < text.length && at - start < MAX_BLOCK) {
    const { line, next } = lineAt(text, at);
    at = next;
    if (line.trim() === fence.marks) {
      open = null;
      break;
    }
    found.push(line);
  }
  const content = found.join("\n");
  const head = make("figcaption", {}, make("span", { text: fence.language || "" }), copyButton(content));
  const node = make("figure", { class: "code" }, head, make("pre", { tabindex: "0" }, make("code", { text: content })));
  return { node, at, fence: open };
}

function table(found) {
  const rows = found
    .filter((line) => !/^[|\s:-]+$/.test(line))
    .map((line) => line.trim().replace(/^\||\|$/g, "").split("|"));
  return make("div", { class: "table", tabindex: "0" }, make("table", {}, ...rows.map((cells, index) =>
    make("tr", {}, ...cells.map((cell) => inline(make(index ? "td" : "th"), cell.trim()))))));
}

function list(found) {
  const number = ITEM.exec(found[0])[2];
  const node = number === undefined ? make("ul") : make("ol", { start: number });
  for (const line of found) {
    const item = ITEM.exec(line);
    if (item) {
      const depth = Math.min(3, Math.floor(item[1].replaceAll("\t", "    ").length / 2));
      node.append(inline(make("li", { class: `depth-${depth}` }), item[3]));
    } else {
      inline(node.lastChild, ` ${line.trim()}`);
    }
  }
  return node;
}

function inline(parent, text) {
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    const [whole, , coded, bold, words, target, address] = found;
    parent.append(text.slice(at, found.index));
    at = found.index + whole.length;
    if (coded !== undefined) parent.append(make("code", { text: coded }));
    else if (bold !== undefined) parent.append(make("strong", { text: bold }));
    else if (target !== undefined) parent.append(link(target, words));
    else {
      const bare = address.replace(/[.,;:!?*_]+$/, "");
      parent.append(link(bare, bare), address.slice(bare.length));
    }
  }
  parent.append(text.slice(at));
  return parent;
}

const link = (target, words) =>
  make("a", { href: target, rel: "noopener noreferrer", target: "_blank", text: words });
