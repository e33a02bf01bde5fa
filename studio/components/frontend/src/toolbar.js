// The row of controls over the charts. Every choice is remembered by this browser.
import { AXES } from "./places.js";
import { MOST } from "./settings.js";
import { el, setText } from "./shared.js";

const STEP = 0.05;
const TOGGLES = [
  ["logY", "log y", "Logarithmic y axis; values at or below 0 leave a gap (l)"],
  ["logX", "log x", "Logarithmic x axis"],
  ["outliers", "Clip outliers", "The y axis goes from the 1st to the 99th percentile of what is seen: spikes leave the frame, not the data (o)"],
  ["events", "Events", "Marks of what happened: rewards, settings, pauses, resumes, alerts (e)"],
  ["bands", "Seeds as bands", "Runs that differ only in their seed become one line: their mean, ± 1.96 standard errors of three seeds or more, the range of two; not smoothed"],
];

export class Toolbar {
  /** `chosen(name)` after each choice, `filtered(regex | null)`, `reset()`, `help(button)`. */
  constructor(settings, { chosen, filtered, reset, help }) {
    Object.assign(this, { settings, chosen, filtered });
    this.weight = el("span", { className: "faint num" });
    this.slider = el("input", { type: "range", min: "0", max: String(MOST), step: "0.01", "aria-label": "Smoothing", title: "Moving average over the steps; the raw line stays behind it (s, S)", oninput: () => this.smooth(Number(this.slider.value)) });
    this.axes = Object.entries(AXES).map(([axis, { label, help: text }]) => el("button", { title: `${text} (t)`, onclick: () => this.set("axis", axis), dataset: { axis } }, label));
    this.toggles = TOGGLES.map(([name, label, title]) => el("button", { title, onclick: () => this.set(name, !settings[name]), dataset: { toggle: name } }, label));
    this.filter = el("input", { type: "search", placeholder: "Filter metrics (regex)", "aria-label": "Filter metrics", spellcheck: false, oninput: () => this.filterBy(this.filter.value) });
    this.wrong = el("span", { className: "wrong", role: "status" });
    this.reset = el("button", { hidden: true, onclick: reset }, "Reset zoom");
    this.step = el("span", { className: "hover" });
    this.age = el("span", { className: "faint age" });
    const helper = el("button", { className: "help", "aria-label": "Keyboard shortcuts", title: "Keyboard shortcuts (?)", onclick: () => help(helper) }, "?");
    this.helper = helper;
    this.element = el("div", { className: "tools" },
      el("label", { className: "smoothing" }, "Smoothing", this.slider, this.weight),
      el("span", { className: "segments", role: "group", "aria-label": "x axis" }, ...this.axes),
      el("span", { className: "toggles" }, ...this.toggles),
      el("span", { className: "search" }, this.filter, this.wrong), this.reset, this.step, this.age, helper);
    this.show();
  }

  set(name, value) {
    this.settings[name] = value;
    this.show();
    this.chosen(name);
  }

  smooth(value) {
    this.set("smoothing", Math.round(100 * Math.min(MOST, Math.max(0, value))) / 100);
  }

  smoother(direction) { this.smooth(this.settings.smoothing + direction * STEP); }

  nextAxis() {
    const axes = Object.keys(AXES);
    this.set("axis", axes[(axes.indexOf(this.settings.axis) + 1) % axes.length]);
  }

  toggle(name) { this.set(name, !this.settings[name]); }

  filterBy(text) {
    let regex = null, wrong = "";
    try {
      regex = text.trim() ? new RegExp(text.trim(), "i") : null;
    } catch (error) {
      wrong = "not a regular expression";
      this.wrong.title = String(error.message);
    }
    setText(this.wrong, wrong);
    this.filter.setAttribute("aria-invalid", String(Boolean(wrong)));
    if (!wrong) this.filtered(regex);
  }

  /** Several runs or one: some choices mean nothing without the others. */
  setNumRuns(num) {
    this.numRuns = num;
    this.show();
  }

  show() {
    const { settings } = this;
    this.slider.value = String(settings.smoothing);
    setText(this.weight, settings.smoothing.toFixed(2));
    for (const button of this.axes) button.setAttribute("aria-pressed", String(button.dataset.axis === settings.axis));
    for (const button of this.toggles) {
      const { toggle } = button.dataset;
      button.setAttribute("aria-pressed", String(settings[toggle]));
      if (toggle === "logX") button.disabled = settings.axis === "clock";
      if (toggle === "bands") { button.hidden = !(this.numRuns > 1); button.disabled = settings.axis === "clock"; }
    }
  }
}
