// The completions of a group with two advantages each: as it was, and as it would have been.
import { BASE_CSS, el, format, mountOnce, visible } from "./shared.js";

const CSS = `
.versus { display: grid; grid-template-columns: 26px minmax(0, 1fr) max-content max-content minmax(180px, 300px) max-content max-content; gap: 0 14px;
  font-size: 13px; align-items: center; border: 1px solid var(--line); border-radius: var(--st-base-radius); padding: 4px 14px 6px; }
.versus > * { padding: 5px 0; min-height: 30px; display: flex; align-items: center; }
.versus .num { justify-content: flex-end; }
.versus .head { font-size: 12px; color: var(--faint); }
.versus .said { overflow: hidden; }
.versus .said span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-family: var(--st-code-font); font-size: 12px; unicode-bidi: isolate; direction: ltr; }
.bars { position: relative; height: 20px; min-height: 20px !important; padding: 0 !important; }
.bars::before { content: ""; position: absolute; left: 50%; top: 0; bottom: 0; width: 1px; background: var(--line); }
.bars i { position: absolute; height: 8px; border-radius: 2px; }
.bars .was { top: 1px; background: var(--st-gray-color); opacity: .55; }
.bars .now { top: 11px; }
.bars .spread { top: 14px; height: 2px; background: var(--st-text-color); opacity: .45; }
.legend { display: flex; gap: 16px; font-size: 12px; color: var(--faint); margin: 0 2px 8px; align-items: center; }
.legend i { display: inline-block; width: 14px; height: 8px; border-radius: 2px; margin-right: 6px; }
.notes { font-size: 12.5px; color: var(--faint); margin: 8px 2px 0; }
@media (max-width: 900px) { .versus { grid-template-columns: 26px max-content max-content minmax(120px, 1fr) max-content max-content; } .versus .said { display: none; } }
`;
const instances = new WeakMap();

export default function (component) {
  return mountOnce(instances, component, make, (versus) => versus.update());
}

function make(component) {
  const grid = el("div", { className: "versus", role: "table", "aria-label": "Advantages side by side" });
  const notes = el("div", { className: "notes" });
  const root = el("div", { className: "root" }, el("style", { textContent: BASE_CSS + CSS }),
    el("div", { className: "legend" }, key("gray", "as it was", 0.55), key("green", "what if: reinforced"), key("red", "what if: suppressed")), grid, notes);
  component.parentElement.append(root);
  const versus = { component, destroy() {} };
  versus.update = () => {
    const { rows, notes: said } = versus.component.data;
    const most = Math.max(1e-9, ...rows.flatMap(({ advantages, spread }) => advantages.map((a) => Math.abs(a ?? 0) + (spread ?? 0))));
    const head = ["#", "completion", "reward", "what if", "advantage", "was", "what if"]
      .map((text, i) => el("span", { className: `head${i === 0 || i === 1 || i === 4 ? "" : " num"}${i === 1 ? " said" : ""}` }, text));
    grid.replaceChildren(...head, ...rows.flatMap((row) => cells(row, most)));
    notes.textContent = said.join(" ");
    root.dataset.rows = String(rows.length);
  };
  return versus;
}

function key(color, text, opacity = 1) {
  const swatch = el("i");
  swatch.style.background = `var(--st-${color}-color)`;
  swatch.style.opacity = String(opacity);
  return el("span", {}, swatch, text);
}

function cells({ rank, text, correct, rewards, advantages, spread }, most) {
  const [was, now] = advantages;
  return [
    el("span", { className: "faint" }, String(rank)),
    el("span", { className: "said", title: correct ? "right" : "wrong" }, el("span", {}, visible(text))),
    el("span", { className: "num" }, format(rewards[0])),
    el("span", { className: "num" }, format(rewards[1])),
    el("span", { className: "bars" }, bar("was", was, most), bar("now", now, most), ...(spread ? [whisker(now, spread, most)] : [])),
    el("span", { className: "num faint" }, signed(was)),
    el("b", { className: "num", dataset: { now: String(now) } }, spread ? `${signed(now)} ± ${spread.toFixed(2)}` : signed(now)),
  ];
}

function bar(name, value, most) {
  const node = el("i", { className: name });
  const share = (50 * Math.abs(value ?? 0)) / most;
  node.style.left = `${value < 0 ? 50 - share : 50}%`;
  node.style.width = `${share}%`;
  if (name === "now") node.style.background = `var(--st-${value < 0 ? "red" : "green"}-color)`;
  return node;
}

function whisker(value, spread, most) {
  const node = el("i", { className: "spread" });
  node.style.left = `${50 + (50 * (value - spread)) / most}%`;
  node.style.width = `${(100 * spread) / most}%`;
  return node;
}

function signed(value) {
  if (value === null) return "left out";
  return `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(3)}`;
}
