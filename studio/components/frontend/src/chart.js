// One chart card: uPlot with a legend in its title line, version marks, shared zoom and hover.
import uPlot from "uplot";
import { el, format, setText } from "./shared.js";

const HEIGHT = 184;
const CLICK_DELAY_MS = 260;

/** Colours are read when drawing, so that a change of theme needs no more than a redraw. */
export function css(node, name) {
  return getComputedStyle(node).getPropertyValue(name).trim();
}

function palette(node, index) {
  const colors = css(node, "--st-chart-categorical-colors").split(",");
  return colors[index % colors.length].trim() || "#4c6ef5";
}

/** Exponential moving average without the bias of its start. */
export function smoothed(values, weight) {
  let sum = 0, total = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    sum = sum * weight + value;
    total = total * weight + 1;
    return sum / total;
  });
}

/** Columns for uPlot: all steps of the given curves, null where a curve has no point. */
export function align(curves) {
  const steps = [...new Set(curves.flatMap((curve) => curve.steps))].sort((a, b) => a - b);
  const index = new Map(steps.map((step, i) => [step, i]));
  const columns = curves.map((curve) => {
    const column = new Array(steps.length).fill(null);
    curve.steps.forEach((step, i) => { column[index.get(step)] = curve.values[i]; });
    return column;
  });
  return [steps, ...columns];
}

/**
 * `board` is what all charts of the page share: `range()` of x, `smoothing()`, `marks()`,
 * `zoomTo(range | null)`, `open(step)`, `hover(step | null)`.
 */
export class Chart {
  constructor(spec, board, syncKey) {
    this.spec = spec;
    this.board = board;
    this.legend = spec.series.map((series, index) => {
      const value = el("b", {}, "—");
      const dot = el("i", { className: "dot" });
      return { value, dot, index, node: el("span", { className: "item" }, dot, `${series.label} `, value) };
    });
    this.title = el("h4", { title: spec.help ?? "" }, spec.title);
    const legend = el("div", { className: "legend" }, ...this.legend.map((item) => item.node));
    this.host = el("div", { className: "plot" });
    this.element = el("section", { className: "card", "aria-label": spec.title },
      el("header", {}, this.title, legend), this.host);
    this.data = [[], ...spec.series.flatMap(() => [[], []])];
    this.syncKey = syncKey;
    this.plot = null;
  }

  /** uPlot needs its size when it is made: only once the card is on the page. */
  mount() {
    this.plot = new uPlot(this.options(), this.data, this.host);
    this.listen(this.plot.over);
    this.recolor();
  }

  options() {
    const { spec, board, host } = this;
    const font = css(host, "--st-font") || "sans-serif";
    const axis = {
      stroke: () => css(host, "--st-gray-text-color"),
      grid: { stroke: () => css(host, "--st-border-color-light") || css(host, "--st-border-color"), width: 1 },
      ticks: { show: false },
      font: `12px ${font}`,
    };
    return {
      width: Math.max(120, host.clientWidth), height: HEIGHT, legend: { show: false }, padding: [18, 10, 0, 0],
      scales: {
        x: { time: false, range: () => board.range() },
        y: { range: (_, low, high) => this.yRange(low, high) },
      },
      cursor: {
        y: false,
        points: { size: 6 },
        drag: { x: true, y: false, setScale: false, dist: 5 },
        sync: {
          key: this.syncKey, scales: ["x", null], setSeries: false,
          filters: { pub: (type) => type === "mousemove" || type === "mouseleave" },
        },
      },
      axes: [
        { ...axis, size: 22, gap: 4, space: 56, incrs: [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000],
          values: (_, splits) => splits.map((step) => step.toLocaleString("en-US")) },
        { ...axis, size: 54, gap: 6, space: 34, values: (plot, splits) => splits.map((value) => (plot.data[0].length ? tick(value, spec.format) : "")) },
      ],
      series: [{}, ...spec.series.flatMap((series, index) => this.pair(series, index))],
      hooks: {
        setSelect: [(plot) => this.select(plot)],
        setCursor: [(plot) => this.showValues(plot.cursor.idx)],
        draw: [(plot) => this.drawMarks(plot)],
      },
    };
  }

  /** A curve is two: the raw points, and their moving average over them. */
  pair(series, index) {
    const stroke = () => palette(this.host, index);
    return [
      { stroke, width: 1.75, spanGaps: true, points: { show: Boolean(series.points), size: 5.5, fill: stroke, stroke } },
      { stroke, width: 2, spanGaps: true, points: { show: false } },
    ];
  }

  yRange(low, high) {
    if (low === null || low === undefined) return [0, 1];
    if (this.spec.zero) low = Math.min(0, low);
    const minimum = this.spec.format === "percent" ? 0.1 : 1e-6;
    const span = Math.max(high - low, minimum, Math.abs(high) * 1e-3);
    const bottom = this.spec.zero && low >= 0 ? 0 : low - 0.06 * span;
    return [bottom, low + span * 1.07];
  }

  /** `curves`: {steps, values} for each series of the spec, in its order. */
  setCurves(curves) {
    const [steps, ...columns] = align(curves);
    const weight = this.board.smoothing();
    this.data = [steps];
    columns.forEach((column, index) => {
      const isSmooth = Boolean(this.spec.series[index].smooth) && weight > 0;
      this.data.push(column, isSmooth ? smoothed(column, weight) : column.map(() => null));
      if (this.plot) this.plot.series[1 + 2 * index].alpha = isSmooth ? 0.28 : 1;
    });
    this.plot?.setData(this.data);
    this.showValues(this.plot?.cursor.idx);
    this.element.dataset.num = String(steps.length);
  }

  showValues(idx) {
    for (const item of this.legend) {
      const column = this.data[1 + 2 * item.index] ?? [];
      setText(item.value, format(valueAt(column, idx), this.spec.format));
    }
    if (this.plot) this.board.hover(idx === null || idx === undefined ? null : this.data[0][idx]);
  }

  select(plot) {
    if (plot.select.width > 4) {
      const low = plot.posToVal(plot.select.left, "x");
      const high = plot.posToVal(plot.select.left + plot.select.width, "x");
      this.board.zoomTo([low, Math.max(high, low + 1)]);
    }
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }

  /** A click opens the step under the cursor; a drag zooms; a double click shows everything. */
  listen(over) {
    let down = null, timer = 0;
    over.addEventListener("mousedown", (event) => { down = event.clientX; });
    over.addEventListener("click", (event) => {
      const idx = this.plot.cursor.idx;
      if (down === null || Math.abs(event.clientX - down) > 4 || idx === null || idx === undefined) return;
      const step = this.data[0][idx];
      clearTimeout(timer);
      timer = setTimeout(() => this.board.open(step), CLICK_DELAY_MS);
    });
    over.addEventListener("dblclick", () => { clearTimeout(timer); this.board.zoomTo(null); });
  }

  drawMarks(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left - 4 * ratio, 0, bbox.width + 8 * ratio, bbox.top + bbox.height);
    ctx.clip();
    ctx.font = `600 ${11.5 * ratio}px ${css(this.host, "--st-font") || "sans-serif"}`;
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    ctx.strokeStyle = ctx.fillStyle = css(this.host, "--st-violet-color");
    ctx.lineWidth = 1.25 * ratio;
    ctx.setLineDash([4 * ratio, 3 * ratio]);
    let free = -Infinity; // where the last label ends: one that would lie on it is left out
    for (const mark of this.board.marks()) {
      const x = Math.round(plot.valToPos(mark.step, "x", true)) + 0.5;
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      // Above the plot, where no curve runs; on the left where the right has no room.
      const width = ctx.measureText(mark.label).width;
      const fits = x + width < bbox.left + bbox.width;
      const left = fits ? x - 2 * ratio : x - width + 2 * ratio;
      if (left < free) continue;
      free = left + width + 6 * ratio;
      ctx.fillText(mark.label, left, bbox.top - 5 * ratio);
    }
    ctx.restore();
  }

  recolor() {
    for (const item of this.legend) item.dot.style.background = palette(this.host, item.index);
    this.plot?.redraw(false, true);
  }

  resize() {
    const width = this.host.clientWidth;
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  destroy() {
    this.plot?.destroy();
  }
}

/** The value at an index, or the newest one before it: a curve with few points keeps its last. */
function valueAt(column, idx) {
  let index = idx === null || idx === undefined ? column.length - 1 : idx;
  while (index >= 0 && (column[index] === null || column[index] === undefined)) index -= 1;
  return index < 0 ? null : column[index];
}

/** A number at an axis. */
export function tick(value, form) {
  if (form === "percent") return `${Number((100 * value).toFixed(2))}%`;
  if (Math.abs(value) >= 10000) return `${Number((value / 1000).toPrecision(4))}k`;
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1).replace(".0e", "e");
  return value.toLocaleString("en-US", { maximumSignificantDigits: 4 });
}
