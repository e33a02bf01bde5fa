// What all charts of the Live page share: runs, settings, the zoom, the pointer.
import { explanationOf, legendOf, menuOf, tellHere } from "./card_menu.js";
import { between, xText } from "./places.js";
import { Pop } from "./pop.js";
import { getJson } from "./shared.js";

const BANDS_MS = 5000, SOON_MS = 120, MARGIN = 0.1, MOST_DOTS = 80;
const PART = /^reward\/.+\/mean$/;

export class Board {
  /** `page`: redraw(names | null), hovered(text), opened(step), zoomed(), shown() charts, chosen(). */
  constructor(settings, page) {
    Object.assign(this, { settings, page, zoom: null, pointed: null, runs: [], groups: null, explanations: {} });
    this.syncKey = `live-${Math.random()}`;
    this.pop = new Pop();
    this.bandTimer = 0;
  }

  get main() { return this.runs[0]; }

  runNames() { return this.runs.map((run) => run.name); }

  logs() {
    return { logX: this.settings.logX && this.settings.axis !== "clock", logY: this.settings.logY };
  }

  /** Seeds become bands where there are several runs; on the clock each seed has hours of its own. */
  get hasBands() {
    return this.settings.bands && this.runs.length > 1 && this.settings.axis !== "clock" && this.groups !== null;
  }

  /** The lines of a chart; one colour a run where there are several, a dash tells their curves apart. */
  linesOf(spec) {
    const only = spec.series.length === 1;
    if (this.hasBands) {
      return this.groups.flatMap((group, color) => spec.series.flatMap((series, dash) => {
        const band = group.lines[series.name], name = `${group.label} (${group.runs.length})`;
        return band ? [{ band, ofRun: true, color, dash, label: only ? name : `${name} ${series.label}`, full: `${group.label}, ${group.runs.join(", ")}: ${series.label}` }] : [];
      }));
    }
    const several = this.runs.length > 1;
    return this.runs.flatMap((run) => spec.series.map((series, index) => ({
      curve: run.curve(series.name), places: run.places, smooth: series.smooth, dots: series.points && run.curve(series.name).length <= MOST_DOTS,
      changes: PART.test(series.name) ? run.changes() : [],
      ofRun: several, color: several ? run.color : index, dash: several ? index : 0,
      label: !several ? series.label : only ? run.name : `${run.name} ${series.label}`,
      full: several ? `${run.name}: ${series.label}` : `${series.label} (${series.name})`,
    }))).filter((line) => !several || line.curve.length);
  }

  // --- x ----------------------------------------------------------------------------------------

  xOf(step) { return this.main.places.of(step, this.settings.axis); }

  xRange() {
    const { logX } = this.logs(), full = this.wholeRange();
    const [low, high] = this.zoom ? this.zoom.map((step) => this.xOf(step)) : full;
    const first = logX && !(low > 0) ? this.firstPositive(high) : low;
    return high > first ? [first, high] : [first, first + 1];
  }

  wholeRange() {
    const { axis } = this.settings;
    if (axis === "step") return [0, Math.max(5, ...this.runs.map((run) => run.lastStep()))];
    const ends = this.runs.filter((run) => run.places.rows[0].length).map((run) => [run.places.of(0, axis), run.places.of(Infinity, axis)]);
    if (!ends.length) return [0, 1];
    return [Math.min(...ends.map(([low]) => low)), Math.max(...ends.map(([, high]) => high))];
  }

  firstPositive(high) {
    if (this.settings.axis === "step") return Math.min(1, high / 2);
    const firsts = this.runs.map((run) => run.places.of(run.places.rows[0][1] ?? 1, this.settings.axis)).filter((x) => x > 0);
    return firsts.length ? Math.min(...firsts) : high / 2;
  }

  zoomToX(low, high) {
    const [first, last] = [low, high].map((x) => this.main.places.stepAt(x, this.settings.axis));
    this.zoomTo([first, Math.max(last, first + 1)]);
  }

  /** `range`: steps of the main run; the others are seen at the same place of the axis. */
  async zoomTo(range) {
    this.zoom = range;
    for (const run of this.runs) run.forgetDetail();
    this.page.zoomed();
    this.page.redraw(null);
    if (range) await this.fetchDetail(this.page.shown());
  }

  /** What these charts show of a thinned run, in full. */
  async fetchDetail(charts) {
    const { zoom } = this, { axis } = this.settings;
    if (!zoom || this.hasBands) return;
    const names = [...new Set(charts.flatMap((chart) => chart.names))];
    const wide = MARGIN * (zoom[1] - zoom[0]);
    await Promise.all(this.runs.map(async (run) => {
      const wanted = names.filter((name) => !run.detail?.has(name) && run.isThinned([name])).slice(0, 60);
      if (!wanted.length) return;
      const [low, high] = zoom.map((step) => (run === this.main ? step : run.places.stepAt(this.xOf(step), axis)));
      try {
        await run.look(wanted, Math.max(0, low - wide), high + wide);
        if (this.zoom === zoom) this.page.redraw(wanted);
        else run.forgetDetail();
      } catch { /* the coarse curve stays; the poll says what is wrong */ }
    }));
  }

  // --- seeds as bands ---------------------------------------------------------------------------

  /** Ask for the bands of what is shown: soon, and again while somebody watches. */
  askForBands() {
    clearTimeout(this.bandTimer);
    if (!this.settings.bands || this.runs.length < 2 || this.settings.axis === "clock") {
      this.groups = null;
      return;
    }
    this.bandTimer = setTimeout(async () => {
      const names = [...new Set(this.page.shown().flatMap((chart) => chart.names))].slice(0, 60);
      const { axis } = this.settings, runs = this.runNames().join();
      if (names.length && !document.hidden) {
        try {
          const query = new URLSearchParams([["axis", axis], ...this.runNames().map((name) => ["run", name]), ...names.map((name) => ["name", name])]);
          const { groups } = await getJson(`/api/bands?${query}`);
          if (axis !== this.settings.axis || runs !== this.runNames().join()) return;
          this.groups = groups;
          this.page.redraw(null);
        } catch { /* the poll says what is wrong */ }
      }
      if (this.runs.some((run) => run.isLive())) this.bandTimer = setTimeout(() => this.askForBands(), BANDS_MS);
    }, SOON_MS);
  }

  // --- the pointer, and what cards ask for --------------------------------------------------------

  marks() { return this.settings.events ? this.main.marks : []; }

  hover(x) {
    if (x === null || x === undefined) { this.page.hovered(""); return; }
    const { axis } = this.settings;
    const step = `step ${Math.round(this.main.places.stepAt(x, axis)).toLocaleString("en-US")}`;
    this.page.hovered(axis === "step" ? step : `${step} · ${xText(x, axis)}${axis === "tokens" ? " tokens" : ""}`);
  }

  open(x) {
    const { axis } = this.settings, { rows } = this.main.places;
    const step = axis === "step" ? x : between(rows[{ time: 1, tokens: 2, clock: 3 }[axis]], rows[0], x);
    this.page.opened(Math.round(step));
  }

  async explain(chart, anchor) {
    const { nodes, own } = explanationOf(chart, this.explanations);
    this.pop.show(anchor, chart.spec.title, ...nodes);
    try {
      const here = await getJson(`/api/runs/${encodeURIComponent(this.main.name)}/here`);
      for (const [name, node] of own) tellHere(node, here[name]);
      this.pop.fit();
    } catch { /* what holds for every run stands there; the poll says what is wrong */ }
  }

  showMenu(chart, anchor) {
    this.pop.show(anchor, `${chart.spec.title}: more`, menuOf(chart, this, this.pop));
  }

  showLegend(chart, anchor) {
    this.pop.show(anchor, `${chart.spec.title}: all curves`, legendOf(chart));
  }

  isPinned(chart) { return this.settings.pinned.includes(chart.spec.key); }

  pin(chart) {
    const { key } = chart.spec, { pinned } = this.settings;
    this.settings.pinned = pinned.includes(key) ? pinned.filter((one) => one !== key) : [...pinned, key];
    this.page.chosen("pinned");
  }

  destroy() {
    clearTimeout(this.bandTimer);
    this.pop.element.remove();
  }
}
