// One chart card: uPlot with a legend in its title line, marks of events, shared zoom and hover.
import uPlot from "uplot";
import { DASHES, css, lineColor, seriesColor, withAlpha } from "./colors.js";
import { columnsOf, nearestRow, percentiles, valueAt } from "./lines.js";
import { drawMarks, marksNear } from "./marks.js";
import { increments, xTicks } from "./places.js";
import { axisLook, tick } from "./plot.js";
import { el, format, setText } from "./shared.js";

export const HEIGHT = 184;
const CLICK_DELAY_MS = 260, NEAR_PX = 5, PAN_PX = 4, NEAR_STEP = 1e-4;

/** `board` is what all charts of the page share: see `Board` in board.js. `spec` is as in charts.py. */
export class Chart {
  constructor(spec, board) {
    Object.assign(this, { spec, board, plot: null, lines: [], columns: [[]], isVisible: false, isStale: true });
    this.title = el("button", { className: "title", "aria-haspopup": "dialog", onclick: () => board.explain(this, this.title) }, spec.title);
    this.title.title = spec.help ?? "What is this?";
    this.legend = el("div", { className: "legend" });
    this.rest = el("button", { className: "rest", hidden: true, onclick: () => board.showLegend(this, this.rest) });
    this.menu = el("button", { className: "menu", "aria-label": `${spec.title}: more`, "aria-haspopup": "menu", onclick: () => board.showMenu(this, this.menu) }, "⋯");
    this.host = el("div", { className: "plot" });
    this.note = el("div", { className: "faint left-out", hidden: true });
    this.tip = el("div", { className: "tip", hidden: true, role: "status" });
    this.element = el("section", { className: "card", "aria-label": spec.title, tabIndex: -1 },
      el("header", {}, el("h4", {}, this.title), this.legend, this.rest, this.menu), this.host, this.note, this.tip);
    this.element.addEventListener("mouseenter", () => { board.pointed = this; });
    this.element.addEventListener("mouseleave", () => { if (board.pointed === this) board.pointed = null; });
  }

  get names() { return this.spec.series.map((series) => series.name); }

  /** Called when the card comes into view and when it leaves it: what nobody sees is not drawn. */
  setVisible(isVisible) {
    this.isVisible = isVisible;
    if (isVisible && this.isStale) this.draw();
  }

  /** Something changed; drawn now where somebody sees it. */
  touch() {
    this.isStale = true;
    if (this.isVisible) this.draw();
  }

  draw() {
    this.isStale = false;
    const { board, spec } = this, { settings } = board;
    this.lines = board.linesOf(spec);
    let at = 1;
    for (const line of this.lines) { line.at = at; at += line.band ? 3 : 2; }
    const { columns, left } = columnsOf(this.lines, { axis: settings.axis, weight: settings.smoothing, ...board.logs() });
    this.columns = columns;
    this.look = JSON.stringify([settings.axis, board.logs(), this.lines.map((line) => [line.label, Boolean(line.band), line.color, line.dash, line.dots])]);
    if (this.look !== this.drawnLook) this.rebuild();
    else {
      this.items.forEach((item, index) => { item.line = this.lines[index]; });
      this.plot.setData(columns);
    }
    this.lines.forEach((line, index) => {
      if (!line.band) this.plot.series[line.at].alpha = line.smooth && settings.smoothing > 0 ? 0.28 : 1;
    });
    this.note.hidden = left === 0;
    setText(this.note, left ? `${left.toLocaleString("en-US")} ${left === 1 ? "point" : "points"} at or below 0 cannot be drawn on a logarithmic axis` : "");
    this.showValues(this.plot.cursor.idx);
    Object.assign(this.element.dataset, { num: String(columns[0].length), lines: String(this.lines.length), left: String(left) });
    this.element.dataset.draws = String(Number(this.element.dataset.draws ?? 0) + 1);
  }

  /** uPlot fixes its series and the kind of its axes when it is made. */
  rebuild() {
    this.drawnLook = this.look;
    this.plot?.destroy();
    this.showLegend();
    this.plot = new uPlot(this.options(), this.columns, this.host);
    this.listen(this.plot.over);
  }

  options() {
    const { spec, board, host } = this, axis = axisLook(host), { logX, logY } = board.logs();
    const { axis: kind } = board.settings;
    const bands = this.lines.filter((line) => line.band).map((line) => ({ series: [line.at + 1, line.at + 2], fill: () => withAlpha(this.color(line), 0.16) }));
    return {
      width: Math.max(120, host.clientWidth), height: this.height(), legend: { show: false }, padding: [18, 20, 0, 0],
      scales: {
        x: { time: false, distr: logX ? 3 : 1, range: () => board.xRange() },
        y: { distr: logY ? 3 : 1, range: (plot, low, high) => this.yRange(plot, low, high) },
      },
      cursor: {
        y: false,
        points: { size: 6 },
        dataIdx: (plot, series, idx) => nearestRow(plot.data[0], plot.data[series], idx),
        drag: { x: true, y: false, setScale: false, dist: 5 },
        sync: {
          key: board.syncKey, scales: ["x", null], setSeries: false,
          filters: { pub: (type) => type === "mousemove" || type === "mouseleave" },
        },
      },
      axes: [
        { ...axis, size: 22, gap: 4, space: 64, ...(logX ? {} : { incrs: increments(kind) }), values: (_, splits) => xTicks(splits, kind) },
        { ...axis, size: 54, gap: 6, space: 34, values: (plot, splits) => splits.map((value) => (plot.data[0].length && value !== null ? tick(value, spec.format) : "")) },
      ],
      series: [{}, ...this.lines.flatMap((line) => this.strokes(line))],
      bands,
      hooks: {
        setSelect: [(plot) => this.select(plot)],
        setCursor: [(plot) => this.showValues(plot.cursor.idx)],
        draw: [(plot) => drawMarks(plot, board, host)],
      },
    };
  }

  color(line) {
    return line.ofRun ? lineColor(this.host, line.color) : seriesColor(this.host, line.color);
  }

  /** A curve is two, its points and their moving average; a band is three, its edges are not drawn. */
  strokes(line) {
    const stroke = () => this.color(line), dash = DASHES[line.dash % DASHES.length];
    const bare = { stroke: "transparent", width: 0, points: { show: false } };
    const mean = { stroke, width: line.band ? 2.25 : 2, dash, points: { show: false } };
    if (line.band) return [mean, bare, { ...bare }];
    const alone = (plot, index) => lonely(plot.data[index], ...plot.series[0].idxs);
    const points = { show: true, size: line.dots ? 5.5 : 3, fill: stroke, stroke, ...(line.dots ? {} : { filter: alone }) };
    return [{ stroke, dash, width: 1.75, points }, mean];
  }

  yRange(plot, low, high) {
    const { zero, format: form } = this.spec, { logY } = this.board.logs(), { outliers } = this.board.settings;
    if (low === null || low === undefined) return logY ? [0.1, 1] : [0, 1];
    if (outliers || logY) {
      // Of the points alone: on a logarithmic axis the average of zeros would fall for ever.
      const [first, last] = plot.series[0].idxs ?? [0, this.columns[0].length - 1];
      const edge = outliers ? 0.01 : 0;
      [low, high] = percentiles(this.lines.map((line) => this.columns[line.at]), first, last, edge) ?? [low, high];
    }
    if (logY) return low > 0 ? [oneDigit(low), Math.max(high, low * 1.01) * 1.1] : [0.1, 1];
    if (zero) low = Math.min(0, low);
    const span = Math.max(high - low, form === "percent" ? 0.1 : 1e-6, Math.abs(high) * 1e-3);
    return [zero && low >= 0 ? 0 : low - 0.06 * span, low + span * 1.07];
  }

  // --- legend -----------------------------------------------------------------------------------

  showLegend() {
    this.items = this.lines.map((line) => {
      const dot = el("i", { className: "dot" }), value = el("b", {}, "—");
      return { line, dot, value, node: el("span", { className: "item", title: line.full ?? line.label }, dot, el("span", { className: "label" }, line.label), value) };
    });
    this.legend.replaceChildren(...this.items.map((item) => item.node));
    this.recolor(false);
    this.fitLegend();
  }

  /** What has no room is behind a button that says how much it is. */
  fitLegend() {
    const { items = [] } = this;
    this.fitted = this.written();
    for (const item of items) item.node.hidden = false;
    let num = items.length;
    this.rest.hidden = true;
    while (num > 1 && this.legend.scrollWidth > this.legend.clientWidth + 1) {
      num -= 1;
      items[num].node.hidden = true;
      setText(this.rest, `+${items.length - num}`);
      this.rest.hidden = false;
    }
    this.rest.setAttribute("aria-label", `${items.length - num} more curves`);
  }

  /** How much stands in the legend: digits are of one width. */
  written() {
    return (this.items ?? []).reduce((sum, { value }) => sum + value.textContent.length, 0);
  }

  /** What a line is at its point nearest to a row of the table, where its dot stands too, or what it
   * was last; nothing beyond its ends and where it was not in force. */
  valueOf(line, idx) {
    const isOver = idx !== null && idx !== undefined;
    const column = this.columns[line.at] ?? [];
    if (line.band) return isOver ? column[nearestRow(this.columns[0], column, idx)] ?? null : valueAt(column, null);
    const { curve, changes } = line;
    const step = isOver ? line.places.stepAt(this.columns[0][idx], this.board.settings.axis) + NEAR_STEP : Infinity;
    let at = curve.indexAt(step);
    if (at < 0 || changes.some((change) => curve.last[at] < change && change <= step)) return null;
    if (isOver && curve.last[at] < step - 2 * NEAR_STEP) {
      if (at + 1 >= curve.last.length) return null;
      if (curve.first[at + 1] - step < step - curve.last[at]) at += 1;
    }
    return curve.mean[at]; // of a single point its value, not what an axis can show of it
  }

  showValues(idx) {
    for (const { line, value } of this.items ?? []) setText(value, format(this.valueOf(line, idx), this.spec.format));
    if (this.written() > this.fitted) this.fitLegend();
    if (this.board.pointed !== this) { this.tip.hidden = true; return; }
    const x = idx === null || idx === undefined ? null : this.columns[0][idx];
    this.board.hover(x);
    this.showTip();
  }

  /** What happened near the pointer. */
  showTip() {
    const { left } = this.plot.cursor;
    const near = left >= 0 ? marksNear(this.plot, this.board, left, NEAR_PX) : [];
    this.tip.hidden = near.length === 0;
    if (!near.length) return;
    this.tip.replaceChildren(...near.slice(-3).map((mark) => el("div", { dataset: { tone: mark.tone } },
      el("span", { className: "faint num" }, `step ${mark.step}`), " ", el("b", {}, mark.title), mark.text ? ` ${mark.text}` : "")));
    if (near.length > 3) this.tip.append(el("div", { className: "faint" }, `and ${near.length - 3} more here`));
    const room = this.element.clientWidth, x = this.host.offsetLeft + this.plot.over.offsetLeft + left;
    Object.assign(this.tip.style, x < room / 2 ? { left: `${x + 10}px`, right: "auto" } : { right: `${room - x + 10}px`, left: "auto" });
  }

  // --- the pointer ------------------------------------------------------------------------------

  select(plot) {
    if (plot.select.width > PAN_PX) {
      this.board.zoomToX(plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x"));
    }
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }

  /** A click opens the step under the cursor; a drag zooms; a double click shows everything. */
  listen(over) {
    let down = null, timer = 0;
    over.addEventListener("mousedown", (event) => { down = event.clientX; });
    over.addEventListener("click", (event) => {
      const { idx } = this.plot.cursor;
      if (down === null || Math.abs(event.clientX - down) > PAN_PX || idx === null || idx === undefined) return;
      const x = this.columns[0][idx];
      clearTimeout(timer);
      timer = setTimeout(() => this.board.open(x), CLICK_DELAY_MS);
    });
    over.addEventListener("dblclick", () => { clearTimeout(timer); this.board.zoomTo(null); });
  }

  // --- size and look ----------------------------------------------------------------------------

  height() {
    return this.element.matches(":fullscreen") ? Math.max(HEIGHT, window.innerHeight - 64) : HEIGHT;
  }

  resize() {
    const width = this.host.clientWidth, height = this.height();
    if (!this.plot || width <= 0) return;
    if (width !== this.plot.width || height !== this.plot.height) {
      this.plot.setSize({ width, height });
      this.fitLegend();
    }
  }

  recolor(redraw = true) {
    for (const { line, dot } of this.items ?? []) {
      const color = this.color(line), [dash, gap] = DASHES[line.dash % DASHES.length];
      dot.style.background = dash ? `repeating-linear-gradient(90deg, ${color} 0 ${dash / 2}px, transparent ${dash / 2}px ${(dash + gap) / 2}px)` : color;
    }
    if (redraw) this.plot?.redraw(false, true);
  }

  destroy() {
    this.plot?.destroy();
    this.plot = null;
    this.element.remove();
  }
}

/** The rows of points without a neighbour on either side: no line shows them. */
function lonely(column, first, last) {
  const found = [];
  let before = null, at = -1; // the newest value, and where a candidate stands
  for (let i = first; i <= last; i += 1) {
    if (column[i] === undefined) continue;
    if (column[i] === null) { if (at >= 0) found.push(at); at = -1; } else at = before === null ? i : -1;
    before = column[i];
  }
  if (at >= 0) found.push(at);
  return found;
}

/** A number cut to its first digit: uPlot's logarithmic axes count on from their lower end. */
function oneDigit(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return Math.max(1, Math.floor(value / power)) * power;
}
