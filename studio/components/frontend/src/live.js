// The live view of one run: status line, tiles, charts, events. Polls; no script of the page runs
// while one watches. Clicks are sent as trigger `action`: {kind, step}.
import uplotCss from "uplot/dist/uPlot.min.css";
import { Chart } from "./chart.js";
import { Head } from "./head.js";
import { LIVE_CSS } from "./live_css.js";
import { Store } from "./series.js";
import { BASE_CSS, LIVE, duration, el, format, getJson, mountOnce, poll, setText } from "./shared.js";

const POLL_MS = 1000, IDLE_MS = 5000, BACK = 10;
const PART = /^reward\/(.+)\/mean$/;
const SMOOTHING_KEY = "grpo-studio-smoothing";
const instances = new WeakMap();

export default function (component) {
  return mountOnce(instances, component, (made) => new Live(made), (live) => live.update());
}

class Live {
  constructor(component) {
    this.component = component;
    this.store = new Store();
    this.answer = null;
    this.zoom = null;
    this.marks = [];
    this.smoothing = storedSmoothing();
    this.build(component);
    this.restart(component.data.run);
    this.clock = setInterval(() => this.showAge(), 1000);
    this.observer = new ResizeObserver(() => this.charts.forEach((chart) => chart.resize()));
    this.observer.observe(this.grid);
  }

  build({ parentElement, data }) {
    this.head = new Head((kind) => this.component.setTriggerValue("action", { kind, step: null }));
    this.age = el("span", { className: "faint age" });
    this.offline = el("div", { className: "alert", hidden: true, role: "status", dataset: { tone: "warn" } });
    this.tiles = data.tiles.map((tile) => makeTile(tile));
    this.step = el("span", { className: "hover" });
    this.reset = el("button", { hidden: true, onclick: () => this.board().zoomTo(null) }, "Reset zoom");
    this.grid = el("div", { className: "grid" });
    this.empty = el("div", { className: "empty", hidden: true });
    this.events = el("ol", { className: "events" });
    this.eventsBox = el("section", { className: "card", hidden: true }, el("header", {}, el("h4", {}, "Events")), this.events);
    this.root = el("div", { className: "root" },
      el("style", { textContent: uplotCss + BASE_CSS + LIVE_CSS }),
      this.head.element, this.head.alert, this.offline,
      el("div", { className: "tiles" }, ...this.tiles.map((tile) => tile.element)),
      el("div", { className: "tools" }, this.smoothingControl(), this.reset, this.step,
        el("span", { className: "faint hint" }, "Click a point to open its completions · drag to zoom · double-click to reset"),
        this.age),
      this.empty, this.grid, this.eventsBox);
    parentElement.append(this.root);
    this.buildCharts(data.charts);
  }

  buildCharts(specs) {
    this.syncKey = `live-${Math.random()}`;
    this.charts = specs.map((spec) => new Chart(spec, this.board(), this.syncKey));
    this.parts = null;
    this.grid.append(...this.charts.map((chart) => chart.element));
    this.charts.forEach((chart) => chart.mount());
    this.showOptional();
  }

  /** Charts that only some runs fill stay away until there is something to see. */
  showOptional() {
    for (const chart of this.charts) {
      const { optional, series } = chart.spec;
      const hidden = Boolean(optional) && series.every(({ name }) => !this.store.curves.get(name)?.steps.length);
      if (hidden === chart.element.hidden) continue;
      chart.element.hidden = hidden;
      chart.resize();
    }
  }

  /** A reward of several functions gets a chart of its parts, behind the chart of the whole. */
  showParts() {
    const names = this.store.names().filter((name) => PART.test(name)).sort();
    const shown = this.parts?.spec.series.map((series) => series.name) ?? [];
    const wanted = names.length > 1 ? names : [];
    if (wanted.join() === shown.join()) return;
    if (this.parts) {
      this.charts.splice(this.charts.indexOf(this.parts), 1);
      this.parts.element.remove();
      this.parts.destroy();
      this.parts = null;
    }
    if (!wanted.length) return;
    const series = wanted.map((name) => ({ name, label: name.match(PART)[1], smooth: true }));
    const help = "Mean of each reward function, before its weight.";
    this.parts = new Chart({ title: "Reward parts", help, format: "number", series }, this.board(), this.syncKey);
    const at = 1 + this.charts.findIndex((chart) => chart.spec.title === "Reward");
    this.charts[at - 1].element.after(this.parts.element);
    this.charts.splice(at, 0, this.parts);
    this.parts.mount();
  }

  /** What the charts share. */
  board() {
    return {
      range: () => this.zoom ?? [0, Math.max(5, this.store.lastStep())],
      smoothing: () => this.smoothing,
      marks: () => this.marks,
      zoomTo: (range) => this.zoomTo(range),
      open: (step) => this.component.setTriggerValue("action", { kind: "open_step", step }),
      hover: (step) => setText(this.step, step === null ? "" : `step ${step.toLocaleString("en-US")}`),
    };
  }

  smoothingControl() {
    const value = el("span", { className: "faint" }, this.smoothing.toFixed(2));
    const input = el("input", {
      type: "range", min: "0", max: "0.95", step: "0.05", value: String(this.smoothing), "aria-label": "Smoothing",
      oninput: () => {
        this.smoothing = Number(input.value);
        setText(value, this.smoothing.toFixed(2));
        try { localStorage.setItem(SMOOTHING_KEY, input.value); } catch { /* private window: not kept */ }
        this.draw();
      },
    });
    return el("label", { className: "smoothing" }, "Smoothing", input, value);
  }

  /** Streamlit calls this on every change of data or theme. */
  update() {
    const { run } = this.component.data;
    if (run !== this.run) this.restart(run);
    this.charts.forEach((chart) => chart.recolor());
  }

  restart(run) {
    this.poller?.stop();
    this.run = run;
    this.store.clear();
    this.answer = null;
    this.zoom = null;
    this.reset.hidden = true;
    this.poller = poll(() => this.ask(), () => (this.isLive() ? POLL_MS : IDLE_MS), (error) => {
      setText(this.offline, error.message);
      this.offline.hidden = false;
    });
  }

  isLive() {
    return !this.answer || LIVE.includes(this.answer.run.status);
  }

  async ask() {
    const { run, store } = this;
    const answer = await getJson(`${this.component.data.url}/metrics?since=${store.cursor}&attempt=${store.attempt}`);
    if (run !== this.run) return;
    const before = this.answer?.run.status;
    this.answer = answer;
    this.received = Date.now();
    this.offline.hidden = true;
    const changed = store.apply(answer);
    const marks = answer.marks.map((mark) => ({ ...mark, label: `reward v${mark.number}` }));
    const marked = JSON.stringify(marks) !== JSON.stringify(this.marks);
    this.marks = marks;
    if (changed || marked) this.draw();
    this.showRun(answer.run);
    this.showEvents(answer.events);
    this.count();
    // The page shows the log of a run that failed and its buttons: it must hear of the change.
    if (before && before !== answer.run.status) this.component.setStateValue("status", answer.run.status);
  }

  /** For tests and the curious: how many polls, how many points, which zoom. */
  count() {
    const { dataset } = this.root;
    dataset.polls = String(Number(dataset.polls ?? 0) + 1);
    dataset.step = String(this.store.lastStep());
    dataset.marks = this.marks.map((mark) => mark.step).join(" ");
    dataset.zoom = this.zoom ? this.zoom.map((value) => value.toFixed(2)).join("-") : "";
  }

  draw() {
    this.showParts();
    this.showOptional();
    for (const chart of this.charts) chart.setCurves(chart.spec.series.map(({ name }) => this.store.curve(name)));
    for (const tile of this.tiles) this.fillTile(tile);
  }

  async zoomTo(range) {
    this.zoom = range;
    this.store.detail = null;
    this.reset.hidden = range === null;
    this.draw();
    this.count();
    if (!range || !this.store.thinned) return;
    const query = new URLSearchParams([["low", Math.floor(range[0])], ["high", Math.ceil(range[1])]]);
    for (const chart of this.charts) for (const { name } of chart.spec.series) query.append("name", name);
    try {
      const { series } = await getJson(`${this.component.data.url}/window?${query}`);
      if (this.zoom !== range) return;
      this.store.detail = { low: Math.floor(range[0]), series };
      this.draw();
    } catch { /* the coarse curve stays; the poll says what is wrong */ }
  }

  fillTile({ spec, value, note }) {
    const { store } = this;
    const first = spec.since === "first";
    // A number of every step that the newest steps do not have is none of theirs.
    const isOld = !first && store.lastStepOf(spec.name) < store.lastStepOf("time/step_s");
    setText(value, format(isOld ? null : store.last(spec.name), spec.format));
    const old = first ? store.first(spec.name) : store.last(spec.name, BACK);
    const label = first ? "at the start" : `${BACK} steps ago`;
    setText(note, old === null ? "\u00a0" : `${label}: ${format(old, spec.format)}`);
  }

  showRun(run) {
    this.head.show(run, this.store.last("time/step_s"));
    this.empty.hidden = this.store.curves.size > 0;
    setText(this.empty, LIVE.includes(run.status)
      ? "Loading the model. The first point appears after the evaluation before step 1."
      : "This run wrote down no numbers.");
    this.showAge();
  }

  showAge() {
    if (!this.received) return;
    const seconds = Math.round((Date.now() - this.received) / 1000);
    setText(this.age, seconds < 2 ? "updated just now" : `updated ${duration(seconds)} ago`);
  }

  showEvents(events) {
    const stamp = events.map((event) => event.id).join();
    this.eventsBox.hidden = events.length === 0;
    if (stamp === this.eventStamp) return;
    this.eventStamp = stamp;
    this.events.replaceChildren(...events.map((event) => el("li", { dataset: { tone: event.tone } },
      el("span", { className: "faint num" }, `step ${event.step}`),
      el("b", {}, event.title),
      el("span", { className: "text" }, event.text),
      el("time", { className: "faint" }, new Date(event.time * 1000).toLocaleTimeString("en-GB")))));
  }

  destroy() {
    this.poller.stop();
    clearInterval(this.clock);
    this.observer.disconnect();
    this.charts.forEach((chart) => chart.destroy());
  }
}

function makeTile(spec) {
  const value = el("div", { className: "value" }, "—");
  const note = el("div", { className: "faint note" }, "\u00a0");
  const element = el("div", { className: "tile" }, el("div", { className: "faint label" }, spec.label), value, note);
  return { spec, value, note, element };
}

function storedSmoothing() {
  try {
    const value = Number(localStorage.getItem(SMOOTHING_KEY));
    return value >= 0 && value <= 0.95 ? value : 0;
  } catch {
    return 0;
  }
}
