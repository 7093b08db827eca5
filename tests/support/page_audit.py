"""What a page looks like, measured in the browser: contrast, what is cut off, and names."""

from __future__ import annotations

from tests.support.browser import Page

LEAST_CONTRAST = 4.5
CONTROLS = frozenset(
    ("button", "checkbox", "combobox", "dialog", "DisclosureTriangle", "link", "radio",
     "searchbox", "textbox"),
)  # fmt: skip

_HELPERS = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
function rgba(colour) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}
const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3]));
function behind(node) {
  const layers = [];
  for (let at = node; at; at = at.parentElement) {
    layers.push(rgba(getComputedStyle(at).backgroundColor));
  }
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
}
const light = (colour) => colour
  .map((v) => v / 255)
  .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
function contrast(words, ground) {
  const [low, high] = [light(words), light(ground)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}
const ownText = (node) => [...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim());
const isSeen = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true })
  && !node.closest(".hidden, #skip, noscript, head");
const scrolls = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const mayScroll = ["auto", "scroll"].includes(getComputedStyle(at).overflowX);
    if (mayScroll && at.scrollWidth > at.clientWidth) return true;
  }
  return false;
};
const named = (node) =>
  `${node.tagName} #${node.id} .${node.className} "${node.textContent.slice(0, 40)}"`;
const top = document.querySelector("dialog[open]") ?? document.body;
const shown = [...top.querySelectorAll("*")].filter(isSeen);
"""

_PALE = """(() => {%s
  return shown.flatMap((node) => {
    const grounds = behind(node);
    const found = [];
    const look = (style, what) => {
      const ratio = contrast(over(rgba(style.color), grounds), grounds);
      if (ratio < %s) found.push(`${what} ${ratio.toFixed(2)}: ${named(node)}`);
    };
    if (ownText(node)) look(getComputedStyle(node), "text");
    const isEmpty = node.placeholder && !node.value;
    if (isEmpty) look(getComputedStyle(node, "::placeholder"), "placeholder");
    return found;
  });
})()"""

_CUT_OFF = """(() => {%s
  const width = document.documentElement.clientWidth;
  const found = document.documentElement.scrollWidth > width ? ["the page itself"] : [];
  for (const node of shown) {
    if (!ownText(node) || scrolls(node)) continue;
    const style = getComputedStyle(node);
    const isCut = style.overflowX !== "visible" && node.scrollWidth > node.clientWidth + 1;
    if (isCut) found.push(named(node));
    const box = node.getBoundingClientRect();
    if (box.left < -1 || box.right > width + 1) found.push(`${named(node)} ends at ${box.right}`);
  }
  return found;
})()"""


async def audit(page: Page) -> list[str]:
    """All that is wrong with what can be seen now; every entry says where."""
    pale = await page.value(_PALE % (_HELPERS, LEAST_CONTRAST))
    cut_off = await page.value(_CUT_OFF % _HELPERS)
    return [
        *(f"pale: {each}" for each in pale),
        *(f"cut off: {each}" for each in cut_off),
        *(f"no name: {each}" for each in await _nameless(page)),
    ]


async def _nameless(page: Page) -> list[str]:
    """The roles of controls that a screen reader has no name for."""
    tree = await page.call("Accessibility.getFullAXTree")
    nodes = [node for node in tree["nodes"] if not node.get("ignored")]
    controls = [node for node in nodes if node["role"]["value"] in CONTROLS]
    assert controls, "a page without controls"
    return [
        f"{node['role']['value']} {node.get('properties')}"
        for node in controls
        if not node.get("name", {}).get("value", "").strip()
    ]
