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
    this.input = el("input", { type: "number", className: "step", "aria-label": "Step", onchange: () => this.typed() });
    this.of = el("span", { className: "faint of" });
    this.back = el("button", { title: "Step before ([)", onclick: () => act.go(this.step - 1) }, "‹");
    this.next = el("button", { title: "Next step (])", onclick: () => act.go(this.step + 1) }, "›");
    this.canvas = el("canvas", { className: "ribbon", title: "Mean reward of each step; click to go there" });
    this.canvas.addEventListener("click", (event) => act.go(this.stepAt(event)));
    this.canvas.addEventListener("mousemove", (event) => this.hint(event));
    this.follow = el("button", { title: "Stay at the newest step", "aria-pressed": "false", onclick: () => act.follow(this.follow.getAttribute("aria-pressed") !== "true") }, "Follow");
    this.element = el("div", { className: "steps" },
      el("span", { className: "label" }, "Step"), this.back, this.input, this.of, this.next, this.canvas,
      el("button", { title: "The next step with a group whose rewards differ (n)", onclick: () => act.jump("signal", false) }, "Next with signal"),
      el("button", { title: "The next step whose mean reward falls well below that of the ten before (m)", onclick: () => act.jump("drop", false) }, "Next drop"),
      this.follow);
  }

  typed() {
    const wanted = Number(this.input.value);
    if (this.input.value.trim() && Number.isFinite(wanted)) this.act.go(wanted);
    // what was typed may be no step: what is shown stands there again
    this.input.value = String(this.step ?? "");
  }

  /** The mean rewards of the run, for the ribbon. */
  async load(url) {
    const turn = this.turn = (this.turn ?? 0) + 1;
    try {
      const { series } = await getJson(`${url}/window?name=reward/mean`);
      if (turn !== this.turn) return;
      const columns = series["reward/mean"] ?? [[], []];
      // of a long run these are buckets: where each begins, and its mean
      const line = columns.length > 2 ? [columns[0], columns[6]] : columns;
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
    this.canvas.title = at < 0 ? `step ${step}` : `step ${step} · mean reward about ${format(values[at])}`;
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
    const low = Math.min(...known), span = Math.max(1e-9, Math.max(...known) - low);
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

function thinned(column) {
  const every = Math.ceil(column.length / POINTS) || 1;
  return column.filter((_, i) => i % every === 0 || i === column.length - 1);
}
