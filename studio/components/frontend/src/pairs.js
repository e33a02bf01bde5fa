// Problems that one of two models solves and the other does not, with both answers side by side. The
// completions come from the Inspector's route of each evaluation when a problem is opened.
import { BASE_CSS, el, getJson, mountOnce, visible } from "./shared.js";

const CSS = `
.tabs { display: flex; gap: 8px; margin-bottom: 10px; flex-wrap: wrap; }
.tabs button[aria-selected=true] { border-color: var(--st-primary-color); color: var(--st-primary-color); font-weight: 600; }
.list { border: 1px solid var(--line); border-radius: var(--st-base-radius); overflow: hidden; }
.item + .item { border-top: 1px solid var(--line); }
.line { display: grid; grid-template-columns: 18px minmax(0, 1fr) max-content; gap: 10px; width: 100%; border: 0; border-radius: 0; text-align: left;
  padding: 9px 14px; background: none; align-items: baseline; }
.line:hover:not(:disabled) { background: var(--hover); color: inherit; }
.line .question { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.line .gold { font-size: 12.5px; color: var(--faint); max-width: 260px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.line .mark { color: var(--faint); transition: transform .12s; align-self: center; width: 12px; text-align: center; line-height: 1; }
.line[aria-expanded=true] .mark { transform: rotate(90deg); }
.open { padding: 2px 14px 14px 42px; }
.open .whole { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 180px; overflow: auto; margin: 0 0 10px; }
.both { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; }
.side { border: 1px solid var(--line); border-radius: var(--st-base-radius); padding: 10px 12px; min-width: 0; }
.side[data-right=true] { border-left: 3px solid var(--st-green-color); }
.side[data-right=false] { border-left: 3px solid var(--st-red-color); }
.side header { display: flex; gap: 4px 12px; align-items: baseline; flex-wrap: wrap; font-size: 12.5px; margin-bottom: 6px; }
.side header b { overflow-wrap: anywhere; }
.side .said { font-family: var(--st-code-font); font-size: 12.5px; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 320px; overflow: auto;
  unicode-bidi: isolate; direction: ltr; }
a { color: var(--st-link-color); }
.side footer { margin-top: 8px; font-size: 12.5px; }
.empty { padding: 18px; color: var(--faint); text-align: center; }
.moreline { padding: 8px 14px; font-size: 12.5px; color: var(--faint); border-top: 1px solid var(--line); }
@media (max-width: 800px) { .both { grid-template-columns: 1fr; } .open { padding-left: 14px; } }
`;
const instances = new WeakMap();

export default function (component) {
  return mountOnce(instances, component, (made) => new Pairs(made), (view) => view.update());
}

class Pairs {
  constructor(component) {
    this.component = component;
    this.tab = 0;
    this.opened = new Set();
    this.tabs = el("div", { className: "tabs", role: "tablist" });
    this.list = el("div", { className: "list" });
    component.parentElement.append(el("div", { className: "root" }, el("style", { textContent: BASE_CSS + CSS }), this.tabs, this.list));
  }

  destroy() {}

  update() {
    const { names, lists } = this.component.data;
    const key = JSON.stringify([names, lists.map(({ rows }) => rows.map((row) => row.groups))]);
    if (key === this.key) return; // another theme; what is open stays open
    this.key = key;
    this.opened.clear();
    this.draw();
  }

  draw() {
    const { lists } = this.component.data;
    this.tabs.replaceChildren(...lists.map(({ label, num }, index) => el("button", {
      role: "tab", "aria-selected": String(index === this.tab), onclick: () => { this.tab = index; this.draw(); },
    }, `${label} · ${num.toLocaleString("en-US")}`)));
    const { rows, num, empty } = lists[this.tab];
    this.list.replaceChildren(...rows.map((row) => this.item(row)));
    if (!rows.length) this.list.append(el("div", { className: "empty" }, empty));
    if (num > rows.length) this.list.append(el("div", { className: "moreline" }, `The first ${rows.length} of ${num.toLocaleString("en-US")}; the files hold all.`));
  }

  item(row) {
    const line = el("button", { className: "line", "aria-expanded": "false" }, el("span", { className: "mark" }, "›"),
      el("span", { className: "question" }, visible(row.question)), el("span", { className: "gold" }, `answer ${visible(row.gold)}`));
    const item = el("div", { className: "item" }, line);
    const key = row.groups.join("/");
    const toggle = (on) => {
      line.setAttribute("aria-expanded", String(on));
      item.querySelector(".open")?.remove();
      if (on) this.open(item, row);
      if (on) this.opened.add(key);
      else this.opened.delete(key);
    };
    line.onclick = () => toggle(line.getAttribute("aria-expanded") !== "true");
    if (this.opened.has(key)) toggle(true);
    return item;
  }

  async open(item, row) {
    const { names, labels } = this.component.data;
    const sides = names.map((name, index) => side(labels[index], row.right[index], row.answers[index],
      `/inspector?run=${encodeURIComponent(name)}&step=${row.batches[index]}&prompt=${row.places[index]}`));
    const line = item.querySelector(".question"), isCut = line.scrollWidth > line.clientWidth || row.question.includes("\n");
    const whole = isCut ? [el("div", { className: "whole" }, visible(row.question))] : [];
    item.append(el("div", { className: "open" }, ...whole, el("div", { className: "both" }, ...sides.map(({ element }) => element))));
    await Promise.all(names.map(async (name, index) => {
      try {
        const group = await getJson(`/api/runs/${encodeURIComponent(name)}/group/${row.groups[index]}`, "This evaluation is gone: it was deleted or moved.");
        const greedy = group.rollouts?.find((one) => one.idx === 0);
        sides[index].said.textContent = greedy ? visible(greedy.text) : group.problem || "It cannot be read.";
      } catch (error) {
        sides[index].said.textContent = error.message;
      }
    }));
  }
}

function side(label, right, { extracted, rule }, link) {
  const said = el("div", { className: "said" }, "…");
  const found = extracted === null ? "no answer found" : `${visible(extracted)} · found by ${rule.replaceAll("_", " ")}`;
  return { said, element: el("div", { className: "side", dataset: { right: String(right) } },
    el("header", {}, el("b", {}, label), el("span", { className: "faint" }, right ? "right" : "wrong"), el("span", { className: "faint" }, found)), said,
    el("footer", {}, el("a", { href: link, target: "_blank", rel: "noopener" }, "Open in the Inspector"))) };
}
