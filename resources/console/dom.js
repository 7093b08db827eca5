// Nodes and words. Text from outside only ever becomes the content of a text node.

export const $ = (id) => document.getElementById(id);

const LANGUAGE = "wegent.language";
const LANGUAGES = { en: "en", zh_CN: "zh-CN" };
const catalogues = {};
let texts = {};

export const say = (key, values = {}) =>
  (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

// make("p", { class: "quiet", text: "…" }, child, …): attributes, listeners (on…) and children.
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") node.toggleAttribute(name, value);
    else if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

export const button = (words, onclick, attributes = {}) =>
  make("button", { type: "button", text: words, onclick, ...attributes });

// Drawn, not an emoji: a fresh Linux machine has no font for those.
export const dot = (status) => make("span", { class: `dot ${status}`, "aria-hidden": "true" });

// Rows of a list anew: what had the focus there has it again.
export function replaceRows(list, rows) {
  const act = list.contains(document.activeElement) ? document.activeElement.dataset.act : undefined;
  list.replaceChildren(...rows);
  if (act) list.querySelector(`[data-act="${CSS.escape(act)}"]`)?.focus();
}

export function fold(words, ...children) {
  return make("details", {}, make("summary", { text: words }), ...children);
}

export async function copy(words, told) {
  try {
    await navigator.clipboard.writeText(words);
    told.textContent = say("console.copied");
    announce(say("console.copied"));
  } catch {
    told.textContent = say("console.copy_failed");
  }
}

export const copyButton = (words) =>
  button(say("console.copy"), (event) => copy(words, event.currentTarget), { class: "small" });

// For people who hear the page: one sentence when something is done, not every word of it.
export function announce(words) {
  $("announcement").textContent = words;
}

export function moment(iso) {
  const time = new Date(iso);
  const isToday = time.toDateString() === new Date().toDateString();
  const form = isToday ? { timeStyle: "short" } : { dateStyle: "medium" };
  return new Intl.DateTimeFormat(document.documentElement.lang, form).format(time);
}

export function size(bytes) {
  const [unit, step] = bytes < 1e6 ? ["kB", 1e3] : ["MB", 1e6];
  const digits = { maximumFractionDigits: 1 };
  return `${new Intl.NumberFormat(document.documentElement.lang, digits).format(bytes / step)} ${unit}`;
}

export const preferredLanguage = () => {
  const kept = localStorage.getItem(LANGUAGE) ?? navigator.language.replace(/^zh.*/, "zh_CN");
  return kept in LANGUAGES ? kept : "en";
};

// All of them at once, so that the page can change its language also while nobody answers.
export async function loadTexts() {
  await Promise.all(Object.keys(LANGUAGES).map(async (language) => {
    catalogues[language] = await (await fetch(`/console/texts/${language}.json`)).json();
  }));
}

export function useLanguage(language) {
  localStorage.setItem(LANGUAGE, language);
  texts = catalogues[language];
  document.documentElement.lang = LANGUAGES[language];
  $("language").value = language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = say(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", say(node.dataset.label));
  }
  for (const node of document.querySelectorAll("[data-placeholder]")) {
    node.placeholder = say(node.dataset.placeholder);
  }
}
