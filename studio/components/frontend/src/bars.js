// How often each value came up, before and after: one pair of bars for each value or range of them.
import { BASE_CSS, el, mountOnce, setText } from "./shared.js";

const CSS = `
.bars { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); height: 96px;
  align-items: end; border-bottom: 1px solid var(--line); }
.pair { display: flex; align-items: end; justify-content: center; gap: 2px; height: 100%; }
.pair i { display: block; width: min(45%, 22px); border-radius: 3px 3px 0 0; min-height: 0; }
.pair i.old { background: color-mix(in srgb, var(--st-text-color) 28%, var(--st-background-color)); }
.pair i.new { background: var(--st-primary-color); }
.labels { position: relative; height: 20px; font-size: 11px; padding-top: 3px; }
.labels span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.bars, .labels { margin: 0 16px; }
.head { display: flex; gap: 14px; font-size: 12.5px; padding-bottom: 8px; align-items: center; }
.head b { font-weight: 600; margin-right: auto; }
.key::before { content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 6px;
  background: var(--key); }
`;
const instances = new WeakMap();

export default function (component) {
  return mountOnce(instances, component, make, update);
}

function make({ parentElement }) {
  const root = el("div", { className: "root" });
  parentElement.append(el("style", { textContent: BASE_CSS + CSS }), root);
  return { root, destroy() { root.remove(); } };
}

function update({ root, component: { data } }) {
  const both = data.old !== null;
  const most = Math.max(1, ...(data.old ?? []), ...data.new);
  const bar = (kind, num) => {
    const node = el("i", { className: kind });
    node.style.height = `${(100 * num) / most}%`;
    return node;
  };
  const pair = (index) => {
    const before = both ? `${data.old[index]} before, ` : "";
    const node = el("div", { className: "pair", title: `${data.ranges[index]}: ${before}${data.new[index]} now` });
    if (both) node.append(bar("old", data.old[index]));
    node.append(bar("new", data.new[index]));
    return node;
  };
  const key = (text, color) => {
    const node = el("span", { className: "key faint" }, text);
    node.style.setProperty("--key", color);
    return node;
  };
  const head = el("div", { className: "head" }, el("b", {}, data.title));
  if (both) {
    head.append(
      key("before", "color-mix(in srgb, var(--st-text-color) 28%, var(--st-background-color))"),
      key("now", "var(--st-primary-color)"),
    );
  }
  const bars = el("div", { className: "bars", role: "img" }, ...data.new.map((_, index) => pair(index)));
  bars.setAttribute("aria-label", data.title);
  // One label a bar stands below it, one more than bars stands at the edges between them.
  const atEdges = data.labels.length > data.new.length;
  const labels = data.labels.map((text, index) => {
    const node = el("span", { className: "faint" });
    setText(node, text);
    node.style.left = `${(100 * (index + (atEdges ? 0 : 0.5))) / data.new.length}%`;
    return node;
  });
  root.replaceChildren(head, bars, el("div", { className: "labels" }, ...labels));
}
