// Moving between steps: a ribbon with the mean reward of the whole run, a number, and jumps.
import { css } from "./channels.js";
import { el, format, getJson, setText } from "./shared.js";

const POINTS = 600;

export class Steps {
  /** `act`: `go(step)`, `jump(kind, back)`, `follow(on)`. */
  constructor(act) {
    this.act = act;
    this.bounds = { first: null, last: null };
    this.step = null;
    this.series = [[], []];
    this.label = el("span", { className: "label" });
    this.input = el("input", { type: "number", className: "step", onchange: () => this.typed() });
    this.of = el("span", { className: "faint of" });
    this.back = el("button", { onclick: () => act.go(this.step - 1) }, "‹");
    this.next = el("button", { onclick: () => act.go(this.step + 1) }, "›");
    this.canvas = el("canvas", { className: "ribbon" });
    this.canvas.addEventListener("click", (event) => act.go(this.stepAt(event)));
    this.canvas.addEventListener("mousemove", (event) => this.hint(event));
    this.follow = el("button", { "aria-pressed": "false", onclick: () => act.follow(this.follow.getAttribute("aria-pressed") !== "true") }, "Follow");
    this.jumps = [
      el("button", { title: "The next step with a group whose rewards differ (n)", onclick: () => act.jump("signal", false) }, "Next with signal"),
      el("button", { title: "The next step whose mean reward falls well below that of the ten before (m)", onclick: () => act.jump("drop", false) }, "Next drop"),
    ];
    this.element = el("div", { className: "steps" }, this.label, this.back, this.input, this.of, this.next, this.canvas, ...this.jumps, this.follow);
  }

  /** What a step is called; only a run has rewards that rise and fall. */
  become(kind, words) {
    this.isRun = kind === "run";
    this.words = words;
    setText(this.label, words.Step);
    this.input.setAttribute("aria-label", words.Step);
    this.back.title = `${words.Step} before ([)`;
    this.next.title = `Next ${words.step} (])`;
    this.canvas.title = `${words.measure} of each ${words.step}; click to go there`;
    this.follow.title = `Stay at the newest ${words.step}`;
    for (const button of this.jumps) button.hidden = !this.isRun;
  }

  typed() {
    const wanted = Number(this.input.value);
    if (this.input.value.trim() && Number.isFinite(wanted)) this.act.go(wanted);
    // what was typed may be no step: what is shown stands there again
    this.input.value = String(this.step ?? "");
  }

  /** The mean rewards of the run, or the shares of right answers, for the ribbon. */
  async load(url) {
    const turn = this.turn = (this.turn ?? 0) + 1;
    try {
      const line = await (this.isRun ? rewardsOf(url) : sharesOf(url));
      if (turn !== this.turn) return;
      this.series = line.map((column) => thinned(column));
      this.canvas.dataset.points = String(this.series[0].length);
      this.canvas.dataset.high = String(Math.max(...this.series[1]));
    } catch { /* the ribbon stays as it was; the page says what is wrong */ }
    this.draw();
  }

  show(bounds, step, follow) {
    this.bounds = bounds;
    this.step = step;
    if (document.activeElement !== this.input && this.input.getRootNode().activeElement !== this.input) this.input.value = String(step);
    this.input.min = String(bounds.first);
    this.input.max = String(bounds.last);
    setText(this.of, `of ${bounds.last.toLocaleString("en-US")}`);
    this.back.disabled = step <= bounds.first;
    this.next.disabled = step >= bounds.last;
    this.follow.setAttribute("aria-pressed", String(follow));
    this.draw();
  }

  stepAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const { first, last } = this.bounds;
    return Math.round(first + ((event.clientX - box.left) / box.width) * (last - first));
  }

  hint(event) {
    const step = this.stepAt(event);
    const [steps, values] = this.series;
    const at = steps.findLastIndex((one) => one <= step);
    const { step: name, ribbon } = this.words;
    this.canvas.title = at < 0 ? `${name} ${step}` : `${name} ${step} · ${ribbon} ${format(values[at], this.isRun ? "number" : "percent")}`;
  }

  draw() {
    const { canvas } = this, ratio = devicePixelRatio || 1;
    const { first, last } = this.bounds;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (!width || first === null) return;
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const [steps, values] = this.series;
    const known = values.filter((value) => value !== null);
    const [low, high] = this.isRun ? [Math.min(...known), Math.max(...known)] : [0, 1];
    const span = Math.max(1e-9, high - low);
    const x = (step) => 2 * ratio + ((step - first) / Math.max(1, last - first)) * (width - 4 * ratio);
    context.strokeStyle = css(canvas, "--st-gray-color") || "#888";
    context.lineWidth = 1.25 * ratio;
    context.beginPath();
    steps.forEach((step, i) => {
      if (values[i] !== null) context.lineTo(x(step), height - 3 * ratio - ((values[i] - low) / span) * (height - 6 * ratio));
    });
    context.stroke();
    context.fillStyle = css(canvas, "--st-primary-color") || "#36c";
    context.fillRect(Math.round(x(this.step)) - ratio, 0, 2 * ratio, height);
  }
}

async function rewardsOf(url) {
  const { series } = await getJson(`${url}/window?name=reward/mean`);
  const columns = series["reward/mean"] ?? [[], []];
  // of a long run these are buckets: where each begins, and its mean
  return columns.length > 2 ? [columns[0], columns[6]] : columns;
}

async function sharesOf(url) {
  const { steps, values } = await getJson(`${url}/ribbon`);
  return [steps, values];
}

function thinned(column) {
  const every = Math.ceil(column.length / POINTS) || 1;
  return column.filter((_, i) => i % every === 0 || i === column.length - 1);
}
