// The table of runs: polls /api/runs, keeps one row per run, sends {kind, run} on a click.
import { BASE_CSS, DONE, LIVE, ago, el, format, getJson, mountOnce, poll, setStatus, setText } from "./shared.js";

const CSS = `
.wrap { overflow-x: auto; border: 1px solid var(--line); border-radius: var(--st-base-radius); }
table { width: 100%; border-collapse: collapse; min-width: 860px; }
th { text-align: left; font-weight: 600; font-size: 12.5px; color: var(--faint); padding: 9px 14px;
  background: var(--soft); border-bottom: 1px solid var(--line); white-space: nowrap; }
td { padding: 10px 14px; border-bottom: 1px solid var(--line); vertical-align: middle; height: 60px; }
tbody tr:last-child td { border-bottom: 0; }
tbody tr:hover { background: var(--hover); }
th.num { text-align: right; }
.name { border: 0; background: none; padding: 2px 4px; margin-left: -4px; font-weight: 600;
  max-width: 260px; overflow: hidden; text-overflow: ellipsis; color: var(--st-link-color); }
.name:hover:not(:disabled) { text-decoration: underline; }
.progress { min-width: 130px; }
.progress .bar { margin-top: 5px; }
.note { font-size: 12.5px; color: var(--faint); max-width: 260px; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.actions { display: flex; gap: 6px; justify-content: flex-end; }
.actions button { font-size: 13px; padding: 3px 10px; min-width: 76px; }
svg { display: block; overflow: visible; }
`;
const KEEP_BUSY_MS = 6000;
const instances = new WeakMap();

export default function (component) {
  return mountOnce(instances, component, make, () => {});
}

function make(component) {
  const body = el("tbody");
  const head = el("tr", {});
  for (const [label, name] of [["Run", ""], ["Status", ""], ["Step", ""], ["Held-out accuracy", "num"],
    ["Reward", ""], ["Started", ""], ["", ""]]) head.append(el("th", { className: name, scope: "col" }, label));
  const alert = el("div", { className: "alert", hidden: true, role: "status" });
  alert.dataset.tone = "warn";
  alert.style.marginBottom = "10px";
  const wrap = el("div", { className: "wrap" }, el("table", {}, el("thead", {}, head), body));
  const root = el("div", { className: "root" }, el("style", { textContent: BASE_CSS + CSS }), alert, wrap);
  component.parentElement.append(root);
  const instance = { component, rows: new Map() };
  const act = (kind, run) => instance.component.setTriggerValue("action", { kind, run });
  let anyLive = true;
  async function ask() {
    const { runs } = await getJson(component.data.url);
    alert.hidden = true;
    anyLive = runs.some((run) => LIVE.includes(run.status));
    const order = runs.map((run) => {
      if (!instance.rows.has(run.name)) instance.rows.set(run.name, makeRow(run.name, act));
      const row = instance.rows.get(run.name);
      fill(row, run);
      return row.element;
    });
    const names = new Set(runs.map((run) => run.name));
    for (const [name, row] of instance.rows) {
      if (!names.has(name)) { row.element.remove(); instance.rows.delete(name); }
    }
    order.forEach((element, index) => {
      if (body.children[index] !== element) body.insertBefore(element, body.children[index] ?? null);
    });
    root.dataset.num = String(runs.length);
  }
  const poller = poll(ask, () => (anyLive ? 1500 : 4000), (error) => {
    setText(alert, error.message);
    alert.hidden = false;
  });
  instance.destroy = () => poller.stop();
  return instance;
}

function makeRow(name, act) {
  const row = {
    name: el("button", { className: "name", title: name, onclick: () => act("open", name) }, name),
    status: el("span", { className: "badge" }),
    note: el("div", { className: "note" }),
    step: el("span"),
    bar: el("i"),
    accuracy: el("td", { className: "num" }),
    spark: sparkline(),
    started: el("td", { className: "faint" }),
    toggle: el("button"),
    end: el("button"),
    busyUntil: 0,
  };
  const press = (button) => () => {
    row.busyUntil = Date.now() + KEEP_BUSY_MS;
    row.busyStatus = row.status.textContent;
    const opensQuestion = button.dataset.kind === "delete";
    if (opensQuestion) row.busyUntil = 0;
    else row.toggle.disabled = row.end.disabled = true;
    act(button.dataset.kind, name);
  };
  row.toggle.onclick = press(row.toggle);
  row.end.onclick = press(row.end);
  row.element = el("tr", { dataset: { run: name } },
    el("td", {}, row.name, row.note),
    el("td", {}, row.status),
    el("td", { className: "progress" }, row.step, el("div", { className: "bar" }, row.bar)),
    row.accuracy,
    el("td", {}, row.spark.svg),
    row.started,
    el("td", {}, el("div", { className: "actions" }, row.toggle, row.end)),
  );
  return row;
}

function fill(row, run) {
  setStatus(row.status, run.status);
  setText(row.step, run.num_steps ? `${run.step} of ${run.num_steps}` : String(run.step));
  row.bar.style.width = `${run.num_steps ? Math.min(100, (100 * run.step) / run.num_steps) : 0}%`;
  setText(row.accuracy, format(run.accuracy, "percent"));
  setText(row.started, run.started ? ago(run.started) : "—");
  const note = run.message || (LIVE.includes(run.status) ? run.phase : "");
  setText(row.note, note);
  row.note.title = note;
  row.spark.draw(run.sparkline);
  const live = LIVE.includes(run.status);
  setAction(row.toggle, live ? (run.status === "paused" ? "continue" : "pause") : "resume", run.name);
  setAction(row.end, live ? "stop" : "delete", run.name);
  row.end.classList.toggle("danger", true);
  const waiting = Date.now() < row.busyUntil && run.status === row.busyStatus;
  row.toggle.disabled = waiting || run.status === "starting" || run.status === "stopping" || run.status === "completed";
  row.toggle.title = run.status === "completed" ? DONE : "";
  row.end.disabled = waiting || run.status === "stopping";
}

function setAction(button, kind, name) {
  button.dataset.kind = kind;
  setText(button, kind[0].toUpperCase() + kind.slice(1));
  button.setAttribute("aria-label", `${kind} ${name}`);
}

const SPARK_WIDTH = 116, SPARK_HEIGHT = 30;

function sparkline() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("width", SPARK_WIDTH);
  svg.setAttribute("height", SPARK_HEIGHT);
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(svg.namespaceURI, "polyline");
  line.setAttribute("fill", "none");
  line.setAttribute("stroke-width", "1.6");
  line.setAttribute("stroke-linejoin", "round");
  line.style.stroke = "var(--st-primary-color)";
  svg.append(line);
  function draw(values) {
    const known = values.filter((value) => value !== null);
    const low = Math.min(...known), span = Math.max(...known) - low || 1;
    const points = known.map((value, index) => {
      const x = known.length > 1 ? (index / (known.length - 1)) * SPARK_WIDTH : 0;
      return `${x.toFixed(1)},${(SPARK_HEIGHT - 3 - ((value - low) / span) * (SPARK_HEIGHT - 6)).toFixed(1)}`;
    });
    line.setAttribute("points", points.length > 1 ? points.join(" ") : "");
  }
  return { svg, draw };
}
