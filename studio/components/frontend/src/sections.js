// Charts in sections: the pinned ones, the overview, and every metric by its prefix. A section that
// is closed has no charts, and a chart out of view is not drawn.
import { Chart } from "./chart.js";
import { el, setText } from "./shared.js";

const ORDER = ["train", "reward", "completion", "eval", "rollout", "advantage", "critic", "time", "perf"];
const PART = /^reward\/(.+)\/mean$/;
const MARGIN = "120px";

export class Sections {
  /** `opened()` is called when a person opened or closed one. */
  constructor(board, specs, opened) {
    Object.assign(this, { board, overview: specs, opened, filter: null, byElement: new WeakMap() });
    this.sight = new IntersectionObserver((entries) => this.seen(entries), { rootMargin: MARGIN });
    this.size = new ResizeObserver(() => this.charts().forEach((chart) => chart.resize()));
    this.element = el("div", { className: "sections" });
    this.none = el("div", { className: "faint none", hidden: true }, "No chart has such a name.");
    this.pinned = this.section("Pinned", false);
    this.main = this.section("Overview", false);
    this.others = new Map();
    this.element.append(this.none);
    this.size.observe(this.main.grid);
    this.size.observe(this.element);
  }

  section(title, folds) {
    const section = new Section(title, folds, this);
    this.element.append(section.element);
    return section;
  }

  charts() {
    return [this.pinned, this.main, ...this.others.values()].flatMap((section) => [...section.charts.values()]);
  }

  shown() { return this.charts().filter((chart) => chart.isVisible); }

  seen(entries) {
    let come = false;
    for (const { target, isIntersecting } of entries) {
      const chart = this.byElement.get(target);
      come ||= isIntersecting && !chart?.isVisible;
      chart?.setVisible(isIntersecting);
    }
    if (come) this.cameIntoView?.();
  }

  /** Charts for the metrics that there are: of this run and of those beside it. */
  update() {
    const { board } = this, names = new Set(board.runs.flatMap((run) => [...run.curves.keys()]));
    const has = (spec) => spec.series.some(({ name }) => names.has(name));
    const curated = this.overview.filter((spec) => !spec.optional || has(spec));
    const parts = partsOf(names);
    if (parts) curated.splice(1 + curated.findIndex((spec) => spec.title === "Reward"), 0, parts);
    const singles = [...names].sort().map((name) => specOf(name, board.explanations));
    const every = new Map([...curated, ...singles].map((spec) => [spec.key, spec]));
    this.main.setSpecs(curated);
    this.pinned.setSpecs(board.settings.pinned.map((key) => every.get(key)).filter(Boolean));
    const prefixes = [...new Set(singles.map((spec) => spec.prefix))].sort(byOrder);
    for (const [prefix, section] of this.others) if (!prefixes.includes(prefix)) { section.destroy(); this.others.delete(prefix); }
    for (const prefix of prefixes) {
      if (!this.others.has(prefix)) this.others.set(prefix, this.section(prefix, true));
      const section = this.others.get(prefix);
      this.element.append(section.element);
      section.setSpecs(singles.filter((spec) => spec.prefix === prefix));
    }
    this.element.append(this.none);
    this.none.hidden = !this.filter || this.charts().length > 0;
  }

  /** Only charts whose title or metric matches; null for all. */
  setFilter(filter) {
    this.filter = filter;
    this.update();
  }

  matches(spec) {
    return !this.filter || this.filter.test(spec.title) || spec.series.some(({ name }) => this.filter.test(name));
  }

  redraw(names) {
    for (const chart of this.charts()) if (!names || chart.names.some((name) => names.includes(name))) chart.touch();
  }

  recolor() { this.charts().forEach((chart) => chart.recolor()); }

  resize() { this.charts().forEach((chart) => chart.resize()); }

  destroy() {
    this.sight.disconnect();
    this.size.disconnect();
    this.charts().forEach((chart) => chart.destroy());
  }
}

class Section {
  constructor(title, folds, all) {
    Object.assign(this, { title, folds, all, specs: [], charts: new Map() });
    this.count = el("span", { className: "faint num" });
    this.grid = el("div", { className: "grid" });
    const name = folds
      ? el("button", { className: "fold", onclick: () => this.toggle() }, el("i", { className: "arrow" }), el("span", {}, title), this.count)
      : el("span", { className: "name" }, title);
    this.button = folds ? name : null;
    this.element = el("section", { className: "part", "aria-label": folds ? `${title}/` : title, hidden: true },
      el("h3", {}, name), this.grid);
  }

  get isOpen() {
    return !this.folds || Boolean(this.all.filter) || this.all.board.settings.open.includes(this.title);
  }

  toggle() {
    const { settings } = this.all.board;
    settings.open = settings.open.includes(this.title) ? settings.open.filter((one) => one !== this.title) : [...settings.open, this.title];
    this.show();
    this.all.opened();
  }

  setSpecs(specs) {
    this.specs = specs;
    this.show();
  }

  show() {
    const wanted = this.specs.filter((spec) => this.all.matches(spec)), shown = this.isOpen ? wanted : [];
    this.element.hidden = wanted.length === 0;
    setText(this.count, String(wanted.length));
    this.button?.setAttribute("aria-expanded", String(this.isOpen));
    this.grid.hidden = !this.isOpen;
    const keys = new Set(shown.map((spec) => spec.key));
    for (const [key, chart] of this.charts) {
      if (keys.has(key)) continue;
      this.all.sight.unobserve(chart.element);
      chart.destroy();
      this.charts.delete(key);
    }
    shown.forEach((spec, index) => this.place(spec, index));
  }

  place(spec, index) {
    let chart = this.charts.get(spec.key);
    if (!chart) {
      chart = new Chart(spec, this.all.board);
      this.charts.set(spec.key, chart);
      this.all.byElement.set(chart.element, chart);
      this.all.sight.observe(chart.element);
    } else if (chart.spec !== spec && JSON.stringify(chart.spec) !== JSON.stringify(spec)) {
      chart.spec = spec;
      chart.touch();
    }
    if (this.grid.children[index] !== chart.element) this.grid.insertBefore(chart.element, this.grid.children[index] ?? null);
  }

  destroy() {
    this.charts.forEach((chart) => { this.all.sight.unobserve(chart.element); chart.destroy(); });
    this.element.remove();
  }
}

/** A reward of several functions gets a chart of its parts. */
function partsOf(names) {
  const parts = [...names].filter((name) => PART.test(name)).sort();
  if (parts.length < 2) return null;
  return {
    key: "chart:Reward parts", title: "Reward parts", format: "number",
    help: "Mean of each reward function, before its weight. A line ends where the function is no longer in force.",
    series: parts.map((name) => ({ name, label: name.match(PART)[1], smooth: true })),
  };
}

function specOf(name, explanations) {
  const at = name.indexOf("/"), prefix = at > 0 ? name.slice(0, at) : "other";
  const isRare = prefix === "eval";
  return {
    key: `metric:${name}`, prefix, title: name, help: explanations[name]?.about, format: explanations[name]?.form ?? "number",
    series: [{ name, label: at > 0 ? name.slice(at + 1) : name, smooth: !isRare, points: isRare }],
  };
}

function byOrder(a, b) {
  const [left, right] = [a, b].map((prefix) => (ORDER.includes(prefix) ? ORDER.indexOf(prefix) : ORDER.length));
  return left - right || (a < b ? -1 : 1);
}
