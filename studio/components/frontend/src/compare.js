// Groups of runs side by side: a chart of means with bands over seeds, verdicts, a table.
// All numbers and words come from Python; this only draws them.
import uplotCss from "uplot/dist/uPlot.min.css";
import uPlot from "uplot";
import { lineColor, withAlpha } from "./colors.js";
import { COMPARE_CSS } from "./compare_css.js";
import { align, axisLook, tick } from "./plot.js";
import { BASE_CSS, el, format, mountOnce, setText } from "./shared.js";

const HEIGHT = 360, BAND_ALPHA = 0.16;
// From the fourth line on a dash tells them apart as well.
const DASHES = [[8, 4], [3, 3], [10, 3, 2, 3]];
// Steps, seconds and tokens are counted in whole ones.
const WHOLE = [1, 2, 5, 10, 20, 50].flatMap((one) => [one, 100 * one, 1e4 * one, 1e6 * one, 1e8 * one]).sort((a, b) => a - b);
const instances = new WeakMap();

export default function (component) {
  return mountOnce(instances, component, (made) => new Compare(made), (view) => view.update());
}

class Compare {
  constructor(component) {
    this.component = component;
    this.title = el("h4");
    this.where = el("span", { className: "faint where" });
    this.legend = el("div", { className: "legend" });
    this.host = el("div", { className: "plot" });
    this.note = el("div", { className: "faint note" });
    this.remarks = el("ul", { className: "remarks" });
    this.empty = el("div", { className: "empty", hidden: true });
    this.verdicts = el("div", { className: "verdicts", hidden: true });
    this.head = el("tr");
    this.body = el("tbody");
    this.root = el("div", { className: "root" },
      el("style", { textContent: uplotCss + BASE_CSS + COMPARE_CSS }),
      el("section", { className: "card", "aria-label": "Curves" },
        el("header", {}, this.title, this.where, this.legend), el("div", { className: "stage" }, this.host, this.empty), this.note, this.remarks),
      this.verdicts,
      el("div", { className: "wrap" }, el("table", {}, el("thead", {}, this.head), this.body)));
    component.parentElement.append(this.root);
    this.zoom = null;
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.host);
  }

  /** Streamlit calls this on every change of data or theme. */
  update() {
    const { data } = this.component;
    const key = JSON.stringify([data.x.name, data.y.name, data.lines.map((line) => line.label)]);
    if (key !== this.key) {
      this.zoom = null;
      this.root.dataset.zoom = "";
      this.plot?.destroy();
      this.plot = null;
    }
    this.key = key;
    setText(this.title, data.y.title);
    setText(this.note, data.note);
    this.remarks.replaceChildren(...data.remarks.map(({ text, tone }) => el("li", { dataset: { tone } }, text)));
    this.showLegend(data.lines);
    this.showPlot(data);
    this.showVerdicts(data.verdicts);
    this.showTable(data.table);
    Object.assign(this.root.dataset, { lines: String(data.lines.length), x: data.x.name, y: data.y.name });
  }

  color(index) {
    return lineColor(this.host, index % 6);
  }

  swatch(index) {
    const [dash, gap] = dashOf(index);
    const color = this.color(index), node = el("i", { className: "swatch" });
    node.style.background = dash
      ? `repeating-linear-gradient(90deg, ${color} 0 ${dash}px, transparent ${dash}px ${dash + gap}px)` : color;
    return node;
  }

  showLegend(lines) {
    this.values = lines.map(() => el("b", {}, "—"));
    this.legend.replaceChildren(...lines.map((line, index) => el("span", { className: "item" },
      this.swatch(index), el("span", { className: "label", title: line.label }, line.label),
      el("span", { className: "seeds" }, line.seeds), this.values[index])));
    this.showValues(null);
  }

  showPlot(data) {
    const xs = data.lines.flatMap((line) => line.x);
    this.full = xs.length ? [Math.min(...xs), Math.max(...xs)] : [0, 1];
    if (this.full[0] === this.full[1]) this.full = [this.full[0], this.full[0] + 1];
    this.empty.hidden = xs.length > 0;
    setText(this.empty, "These runs have no such numbers yet.");
    const columns = data.lines.flatMap((line) => {
      const bare = line.x.map(() => null);
      const edges = [line.high ?? bare, line.low ?? bare].map((values) => values.map((value) => inside(value, data.y.share)));
      return [line.mean, ...edges].map((values) => ({ steps: line.x, values }));
    });
    const table = align(columns);
    if (this.plot) this.plot.setData(table);
    else this.plot = new uPlot(this.options(data), table, this.host);
    this.plot.redraw(false, true);
    this.root.dataset.points = String(table[0].length);
  }

  options(data) {
    const { host } = this;
    const axis = axisLook(host);
    return {
      width: Math.max(120, host.clientWidth), height: HEIGHT, legend: { show: false }, padding: [14, 14, 0, 0],
      scales: { x: { time: false, range: () => this.zoom ?? this.full }, y: { range: (_, low, high) => this.yRange(low, high) } },
      cursor: { y: false, points: { size: 6 }, drag: { x: true, y: false, setScale: false, dist: 5 } },
      axes: [
        { ...axis, size: 24, gap: 5, space: 64, label: data.x.title, labelSize: 22, incrs: WHOLE,
          values: (_, splits) => splits.map((value) => value.toLocaleString("en-US")) },
        { ...axis, size: 58, gap: 6, space: 40, values: (plot, splits) => splits.map((value) => (plot.data[0].length ? tick(value, data.y.format) : "")) },
      ],
      series: [{}, ...data.lines.flatMap((line, index) => this.trio(line, index))],
      bands: data.lines.map((_, index) => ({ series: [2 + 3 * index, 3 + 3 * index], fill: () => withAlpha(this.color(index), BAND_ALPHA) })),
      hooks: {
        setCursor: [(plot) => this.showValues(plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") : null)],
        setSelect: [(plot) => this.select(plot)],
        ready: [(plot) => plot.over.addEventListener("dblclick", () => this.zoomTo(null))],
      },
    };
  }

  /** A line is three: its mean, and the two edges of its band, which are not drawn themselves. */
  trio(line, index) {
    const stroke = () => this.color(index);
    const edge = { stroke: "transparent", width: 0, spanGaps: true, points: { show: false } };
    return [
      { stroke, width: 2.25, dash: dashOf(index), spanGaps: true, points: { show: line.dots, size: 6, fill: stroke, stroke } },
      edge, { ...edge },
    ];
  }

  yRange(low, high) {
    const { zero, share, format: form } = this.component.data.y;
    if (low === null || low === undefined) return [0, 1];
    if (zero) low = Math.min(0, low);
    const span = Math.max(high - low, form === "percent" ? 0.1 : 1e-6, Math.abs(high) * 1e-3);
    const bottom = zero && low >= 0 ? 0 : low - 0.05 * span, top = low + span * 1.06;
    return share ? [Math.max(0, bottom), Math.min(1.005, top)] : [bottom, top];
  }

  /** Each line's value under the cursor, or its last one. */
  showValues(x) {
    const { lines, x: axis, y } = this.component.data;
    const place = x === null ? "" : Math.round(x).toLocaleString("en-US");
    setText(this.where, !place ? "" : axis.unit === "step" ? `step ${place}` : `${place} ${axis.unit}`);
    lines.forEach((line, index) => {
      const at = x === null ? line.x[line.x.length - 1] : x;
      const [mean, low, high] = [line.mean, line.low, line.high].map((values) => values && between(line.x, values, at));
      setText(this.values[index], low === null || mean === null ? format(mean, y.format) : withBand(mean, (high - low) / 2, y.format));
    });
  }

  select(plot) {
    if (plot.select.width > 4) {
      this.zoomTo([plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x")]);
    }
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }

  zoomTo(range) {
    this.zoom = range;
    this.plot.setData(this.plot.data);
    this.root.dataset.zoom = range ? range.map((value) => value.toFixed(2)).join("-") : "";
  }

  showVerdicts(verdicts) {
    this.verdicts.hidden = verdicts.length === 0;
    this.verdicts.replaceChildren(...verdicts.map(({ title, verdict, text }) => el("section", { className: "card" },
      el("div", { className: "faint title" }, title), el("div", { className: "verdict" }, verdict), el("div", { className: "faint text" }, text))));
  }

  showTable({ head, rows }) {
    this.head.replaceChildren(...head.map(({ label, help }, index) =>
      el("th", { className: index ? "num" : "", title: help, scope: "col" }, label)));
    this.body.replaceChildren(...rows.map((cells, row) => el("tr", {}, ...cells.map(({ text, more }, index) => {
      if (index === 0) return el("td", { className: "first" }, el("div", {}, this.swatch(row), el("span", {}, text)));
      return el("td", { className: "num" }, text, el("div", { className: "faint more" }, more || "\u00a0"));
    }))));
  }

  resize() {
    const width = this.host.clientWidth;
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  destroy() {
    this.observer.disconnect();
    this.plot?.destroy();
  }
}

function dashOf(index) {
  return index < DASHES.length ? [] : DASHES[index % DASHES.length];
}

/** The curve's value at x, straight between its points; null outside of them. */
function between(xs, values, x) {
  if (!xs.length || x === undefined || x < xs[0] || x > xs[xs.length - 1]) return null;
  let low = 0, high = xs.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle;
    else high = middle;
  }
  const share = xs[high] === xs[low] ? 0 : (x - xs[low]) / (xs[high] - xs[low]);
  return values[low] + share * (values[high] - values[low]);
}

/** A share lies between 0 and 1, whatever a standard error says. */
function inside(value, share) {
  return share && value !== null ? Math.min(1, Math.max(0, value)) : value;
}

function withBand(mean, half, form) {
  if (form === "percent") return `${(100 * mean).toFixed(1)} ± ${(100 * half).toFixed(1)} %`;
  const text = format(mean, form);
  return `${text} ± ${half.toFixed((text.split(".")[1] ?? "").length)}`;
}
