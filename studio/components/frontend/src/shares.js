// Shares with their intervals on one axis from 0 to 100 %, a table of numbers beside them: evaluations,
// and the kinds of problems of one. All numbers and words come from Python; this only draws them.
import { BASE_CSS, el, mountOnce, setStatus } from "./shared.js";

const CSS = `
.section + .section { margin-top: 18px; }
.section > header { display: flex; align-items: baseline; gap: 4px 14px; flex-wrap: wrap; margin: 0 2px 6px; }
.section h4 { margin: 0; font-size: 14px; font-weight: 600; overflow-wrap: anywhere; }
.section header span { font-size: 12.5px; overflow-wrap: anywhere; }
.wrap { overflow: auto; max-height: 460px; border: 1px solid var(--line); border-radius: var(--st-base-radius); }
table { width: 100%; border-collapse: collapse; min-width: 640px; table-layout: fixed; }
table[data-wide=true] { min-width: 1140px; }
col.label { width: 21%; }
table[data-wide=true] col:nth-child(4), table[data-wide=true] col:nth-child(5) { width: 10.5%; }
table[data-wide=true] col:nth-child(3) { width: 8.5%; }
col.axis { width: 17%; }
col.buttons { width: 258px; }
th { position: sticky; top: 0; z-index: 1; text-align: left; font-weight: 600; font-size: 12.5px; color: var(--faint); padding: 8px 12px;
  background: var(--soft); border-bottom: 1px solid var(--line); white-space: nowrap; }
th[title]:not([title=""]) { cursor: help; }
th.axis { padding-left: 0; padding-right: 0; min-width: 190px; z-index: 2; }
td { padding: 7px 12px; border-bottom: 1px solid var(--line); vertical-align: middle; height: 40px; white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
tbody tr:hover { background: var(--hover); }
tr[data-chosen=true] { background: color-mix(in srgb, var(--st-primary-color) 8%, transparent); }
td.label > * { max-width: 100%; overflow: hidden; text-overflow: ellipsis; display: block; }
.name { border: 0; background: none; padding: 1px 4px; margin-left: -4px; font-weight: 600; color: var(--st-link-color); text-align: left; }
.name:hover:not(:disabled) { text-decoration: underline; }
.plain { font-weight: 600; }
.more { font-size: 12px; line-height: 1.3; color: var(--faint); }
.status { margin-top: 3px; display: flex !important; align-items: center; gap: 8px; font-size: 12px; color: var(--faint); }
.status .bar { width: 90px; flex: none; }
td.axis { position: relative; padding: 0; }
.axis .grid { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--line); }
.axis .line { position: absolute; top: 0; bottom: 0; width: 0; border-left: 1.5px dashed var(--st-orange-color); }
.axis .span { position: absolute; top: 50%; height: 4px; margin-top: -2px; border-radius: 2px; background: var(--st-primary-color); opacity: .38; }
.axis .dot { position: absolute; top: 50%; width: 10px; height: 10px; margin: -5px 0 0 -5px; border-radius: 50%; background: var(--st-primary-color);
  border: 2px solid var(--panel); }
.scale { position: relative; height: 16px; font-weight: 400; font-size: 11px; }
.scale span { position: absolute; transform: translateX(-50%); }
.actions { display: flex; gap: 6px; justify-content: flex-end; }
.actions button { font-size: 13px; padding: 3px 10px; }
.reference { font-size: 12.5px; color: var(--faint); margin: 6px 2px 0; display: flex; gap: 8px; align-items: baseline; }
.reference i { flex: none; width: 16px; border-top: 1.5px dashed var(--st-orange-color); transform: translateY(-4px); }
`;
const TICKS = [0, 25, 50, 75, 100];
const instances = new WeakMap();

export default function (component) {
  return mountOnce(instances, component, make, (view) => view.update());
}

function make(component) {
  const body = el("div");
  const root = el("div", { className: "root" }, el("style", { textContent: BASE_CSS + CSS }), body);
  component.parentElement.append(root);
  const view = { component, destroy() {} };
  const act = (kind, id) => view.component.setTriggerValue("action", { kind, id });
  view.update = () => {
    const { sections } = view.component.data;
    body.replaceChildren(...sections.map((section) => draw(section, act)));
    root.dataset.rows = String(sections.reduce((sum, { rows }) => sum + rows.length, 0));
  };
  return view;
}

function draw({ title, note, columns, axis, rows, line }, act) {
  const hasActions = rows.some(({ actions }) => actions.length);
  const head = el("tr", {},
    el("th", { scope: "col" }, columns[0].label),
    el("th", { scope: "col", className: "axis", title: axis.help },
      axis.label, el("div", { className: "scale" }, ...TICKS.map((tick) => placed("span", {}, tick / 100, String(tick))))),
    ...columns.slice(1).map(({ label, help }) => el("th", { className: "num", scope: "col", title: help }, label)),
    ...(hasActions ? [el("th", { scope: "col", "aria-label": "Actions" })] : []));
  const cols = ["label", "axis", ...columns.slice(1).map(() => ""), ...(hasActions ? ["buttons"] : [])];
  const table = el("table", { dataset: { wide: String(hasActions) } },
    el("colgroup", {}, ...cols.map((className) => el("col", { className }))), el("thead", {}, head),
    el("tbody", {}, ...rows.map((row) => rowOf(row, line, hasActions, act))));
  return el("section", { className: "section", "aria-label": title },
    el("header", {}, el("h4", {}, title), el("span", { className: "faint" }, note)),
    el("div", { className: "wrap" }, table),
    ...(line ? [el("div", { className: "reference" }, el("i"), el("span", {}, line.label))] : []));
}

function rowOf(row, line, hasActions, act) {
  const { id, label, more, value, low, high, cells, actions, status, chosen, opens } = row;
  const name = opens ? el("button", { className: "name", title: label, onclick: () => act(opens, id) }, label)
    : el("span", { className: "plain", title: label }, label);
  return el("tr", { dataset: { id, chosen: String(Boolean(chosen)) } },
    el("td", { className: "label" }, name, ...(more ? [el("span", { className: "more", title: more }, more)] : []),
      ...(status ? [progress(status)] : [])),
    axisCell(value, low, high, line),
    ...cells.map(({ text, more: fainter }) => el("td", { className: "num" }, text, ...(fainter ? [el("div", { className: "more" }, fainter)] : []))),
    ...(hasActions ? [el("td", {}, el("div", { className: "actions" }, ...actions.map(({ kind, label: text, danger }) =>
      el("button", { className: danger ? "danger" : "", dataset: { kind }, "aria-label": `${text} ${id}`, onclick: (event) => { event.target.disabled = true; act(kind, id); setTimeout(() => { event.target.disabled = false; }, 3000); } }, text))))] : []));
}

/** Badge, bar and words of one that is not done. */
function progress({ name, share, text }) {
  const badge = el("span", { className: "badge" }), fill = el("i");
  setStatus(badge, name);
  fill.style.width = `${100 * share}%`;
  return el("span", { className: "status", title: text }, badge, el("div", { className: "bar" }, fill), el("span", {}, text));
}

function axisCell(value, low, high, line) {
  const cell = el("td", { className: "axis" });
  const at = (className, share) => placed("i", { className }, share);
  cell.append(...TICKS.map((tick) => at("grid", tick / 100)));
  if (line) cell.append(at("line", line.value));
  if (value === null) return cell;
  const span = at("span", low);
  span.style.width = `${100 * (high - low)}%`;
  cell.append(span, at("dot", value));
  return cell;
}

/** An element at a share of the axis. */
function placed(tag, props, share, ...children) {
  const node = el(tag, props, ...children);
  node.style.left = `${100 * share}%`;
  return node;
}
