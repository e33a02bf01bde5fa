// The live view of a run: status line, tiles, charts, events; other runs over it. Polls; no script of
// the page runs while one watches. Clicks are sent as trigger `action`: {kind, step}.
import uplotCss from "uplot/dist/uPlot.min.css";
import { Board } from "./board.js";
import { fullScreen } from "./card_menu.js";
import { Gauges, ageText } from "./gauges.js";
import { Head } from "./head.js";
import { listenToKeys } from "./keys.js";
import { helpCard } from "./live_keys.js";
import { LIVE_CSS } from "./live_css.js";
import { Sections } from "./sections.js";
import { Series } from "./series.js";
import { keepSettings, loadSettings } from "./settings.js";
import { BASE_CSS, LIVE, el, mountOnce, setText } from "./shared.js";
import { Events, Tiles } from "./tiles.js";
import { Toolbar } from "./toolbar.js";

const instances = new WeakMap();

export default function (component) {
  return mountOnce(instances, component, (made) => new Live(made), (live) => live.update());
}

class Live {
  constructor(component) {
    this.component = component;
    this.settings = loadSettings();
    this.failures = new Map();
    this.board = new Board(this.settings, {
      redraw: (names) => this.sections.redraw(names),
      hovered: (text) => setText(this.toolbar.step, text),
      opened: (step) => this.component.setTriggerValue("action", { kind: "open_step", step }),
      zoomed: () => { this.toolbar.reset.hidden = this.board.zoom === null; this.count(); },
      shown: () => this.sections.shown(),
      chosen: (name) => this.chosen(name),
    });
    this.build(component);
    this.clock = setInterval(() => this.showAge(), 1000);
    this.stopKeys = listenToKeys(this.shortcuts());
    this.onHidden = () => this.showAge();
    this.onFull = () => this.sections.resize();
    document.addEventListener("visibilitychange", this.onHidden);
    document.addEventListener("fullscreenchange", this.onFull);
  }

  build({ parentElement, data }) {
    this.head = new Head((kind) => {
      this.component.setTriggerValue("action", { kind, step: null });
      this.board.main.hurry();
    });
    this.offline = el("div", { className: "alert", hidden: true, role: "status", dataset: { tone: "warn" } });
    this.broken = el("div", { className: "alert", hidden: true, role: "alert", dataset: { tone: "bad" } });
    this.tiles = new Tiles(data.tiles);
    this.toolbar = new Toolbar(this.settings, {
      chosen: (name) => this.chosen(name),
      filtered: (regex) => { this.sections.setFilter(regex); this.count(); },
      reset: () => this.board.zoomTo(null),
      help: (button) => this.board.pop.show(button, "Keyboard", ...helpCard()),
    });
    this.gauges = new Gauges();
    this.empty = el("div", { className: "empty", hidden: true });
    this.events = new Events();
    this.board.explanations = data.explanations;
    this.sections = new Sections(this.board, data.charts.map((spec) => ({ ...spec, key: `chart:${spec.title}` })), () => this.chosen("open"));
    this.sections.cameIntoView = () => this.cameIntoView();
    this.root = el("div", { className: "root" },
      el("style", { textContent: uplotCss + BASE_CSS + LIVE_CSS }),
      this.head.element, this.head.alert, this.offline, this.broken, this.tiles.element, this.gauges.element,
      this.toolbar.element, this.empty, this.sections.element, this.events.element);
    this.board.pop.home = this.root;
    this.root.append(this.board.pop.element);
    parentElement.append(this.root);
  }

  shortcuts() {
    const { toolbar } = this, here = (act) => () => { const chart = this.chartHere(); if (chart) act(chart); };
    return {
      "/": () => toolbar.filter.focus(),
      s: () => toolbar.smoother(1), S: () => toolbar.smoother(-1),
      t: () => toolbar.nextAxis(), l: () => toolbar.toggle("logY"), o: () => toolbar.toggle("outliers"), e: () => toolbar.toggle("events"),
      f: here((chart) => fullScreen(chart)), p: here((chart) => this.board.pin(chart)),
      z: () => this.board.zoomTo(null), "?": () => this.board.pop.show(toolbar.helper, "Keyboard", ...helpCard()),
    };
  }

  /** The chart that somebody went to with the keyboard, or the one under the pointer. */
  chartHere() {
    const focused = this.root.querySelector(".card:focus-visible, .card :focus-visible")?.closest(".card");
    return (focused && this.sections.byElement.get(focused)) || this.board.pointed;
  }

  /** Streamlit calls this on every change of data or theme. */
  update() {
    const { run, others } = this.component.data, wanted = [run, ...others.filter((name) => name !== run)];
    if (wanted.join() !== this.board.runNames().join()) this.watch(wanted);
    this.sections.recolor();
  }

  /** These runs from now on, the first one being the page's own. */
  watch(names) {
    const { board } = this, isOther = board.main?.name !== names[0];
    const known = new Map(board.runs.map((run) => [run.name, run]));
    board.runs = names.map((name) => known.get(name) ?? new Series(name, (changed) => this.heard(name, changed), (error) => this.failed(name, error)));
    for (const [name, run] of known) if (!names.includes(name)) run.stop();
    giveColors(board.runs);
    if (isOther) {
      board.zoom = null;
      this.toolbar.reset.hidden = true;
      this.status = null;
      this.received = 0;
    }
    board.groups = null;
    board.askForBands();
    this.toolbar.setNumRuns(names.length);
    this.heard(names[0], null);
  }

  failed(name, error) {
    this.failures.set(name, name === this.board.main.name ? error.message : `${name}: ${error.message}`);
    this.showFailures();
  }

  showFailures() {
    const said = this.board.runNames().map((name) => this.failures.get(name)).filter(Boolean);
    setText(this.offline, said[0] ?? "");
    this.offline.hidden = said.length === 0;
  }

  /** A run has answered; `changed` are the curves that grew, null for everything. */
  heard(name, changed) {
    const { board } = this, run = board.runs.find((one) => one.name === name);
    if (!run) return;
    if (run.run) this.failures.delete(name);
    this.showFailures();
    const metrics = [...new Set(board.runs.flatMap((one) => [...one.curves.keys()]))].sort().join();
    if (metrics !== this.metrics) {
      this.metrics = metrics;
      this.sections.update();
    }
    const reaches = board.wholeRange().join(); // the x axes of all charts go as far as the longest run
    if (changed === null || (changed.length && reaches !== this.reaches && !board.zoom)) this.sections.redraw(null);
    else if (changed.length) this.sections.redraw(changed);
    this.reaches = reaches;
    if (run === board.main && run.run) this.showRun(run);
    this.count();
  }

  showRun(main) {
    this.received = Date.now();
    this.head.show(main.run, main.last("time/step_s"));
    this.tiles.show(main);
    this.events.show(main);
    setText(this.broken, main.problem);
    this.broken.hidden = !main.problem;
    this.empty.hidden = main.curves.size > 0 || Boolean(main.problem);
    setText(this.empty, LIVE.includes(main.run.status)
      ? "Loading the model. The first point appears after the evaluation before step 1."
      : "This run wrote down no numbers.");
    this.root.dataset.polls = String(Number(this.root.dataset.polls ?? 0) + 1);
    this.showAge();
    // The page shows the log of a run that failed and its buttons: it must hear of the change.
    const { status } = main.run;
    if (this.status && this.status !== status) this.component.setStateValue("status", status);
    this.status = status;
  }

  chosen(name) {
    keepSettings(this.settings);
    if (name === "pinned") this.sections.update();
    if (name === "axis" || name === "bands") this.board.askForBands();
    if (name !== "open") this.sections.redraw(null);
    this.count();
  }

  cameIntoView() {
    this.board.fetchDetail(this.sections.shown());
    this.board.askForBands();
    this.count();
  }

  /** For tests and the curious: how many polls, which step, which view. */
  count() {
    const { board, settings } = this, { main } = board, shown = this.sections.charts();
    Object.assign(this.root.dataset, {
      step: String(main.lastStep()),
      marks: main.changes().join(" "),
      events: String(board.marks().length),
      zoom: board.zoom ? board.zoom.map((value) => value.toFixed(2)).join("-") : "",
      axis: settings.axis,
      smoothing: settings.smoothing.toFixed(2),
      toggles: ["logX", "logY", "outliers", "bands"].filter((one) => settings[one]).join(" "),
      runs: board.runNames().join(" "),
      pinned: String(settings.pinned.length),
      charts: String(shown.length),
      mounted: String(shown.filter((chart) => chart.plot).length),
      drawn: String(shown.filter((chart) => chart.isVisible).length),
    });
  }

  showAge() {
    if (this.received) setText(this.toolbar.age, ageText(this.received, document.hidden));
  }

  destroy() {
    this.board.runs.forEach((run) => run.stop());
    this.board.destroy();
    this.gauges.stop();
    this.sections.destroy();
    this.stopKeys();
    clearInterval(this.clock);
    document.removeEventListener("visibilitychange", this.onHidden);
    document.removeEventListener("fullscreenchange", this.onFull);
  }
}

/** The page's own run has the first colour; the others keep theirs while they stay. */
function giveColors([main, ...others]) {
  main.color = 0;
  const taken = new Set([0]);
  for (const run of others) {
    if (taken.has(run.color)) run.color = undefined;
    else if (run.color !== undefined) taken.add(run.color);
  }
  for (const run of others) {
    if (run.color !== undefined) continue;
    run.color = 0;
    while (taken.has(run.color)) run.color += 1;
    taken.add(run.color);
  }
}
