// Where steps stand on the x axes: steps, seconds of training, the clock, tokens sampled.

export const AXES = {
  step: { label: "Step", title: "Step", help: "Steps of the run" },
  time: { label: "Time", title: "Seconds of training", help: "Seconds of the steps alone, as on the Compare page: evaluations, checkpoints and pauses are not counted" },
  clock: { label: "Clock", title: "Wall time", help: "When a step ended by the clock; pauses and everything else count" },
  tokens: { label: "Tokens", title: "Tokens sampled", help: "Tokens sampled up to the end of a step" },
};
const LIMIT = 2000, ROWS = { step: 0, time: 1, tokens: 2, clock: 3 };
const WHOLE = [1, 2, 5].flatMap((one) => [...Array(12).keys()].map((power) => one * 10 ** power)).sort((a, b) => a - b);
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];
const DAY = 86400;

export class Places {
  constructor() {
    this.rows = [[], [], [], []];
  }

  append(columns) {
    const [steps] = this.rows;
    for (let i = 0; i < columns[0].length; i += 1) {
      if (steps.length && columns[0][i] <= steps[steps.length - 1]) continue;
      for (let row = 0; row < 4; row += 1) this.rows[row].push(columns[row][i]);
    }
    if (steps.length > LIMIT) {
      const newest = steps.length - 1;
      this.rows = this.rows.map((row) => row.filter((_, i) => i % 2 === 0 || i === newest));
    }
  }

  /** The place of a step; straight between steps that are known, exact at them. */
  of(step, axis) {
    return axis === "step" ? step : between(this.rows[0], this.rows[ROWS[axis]], step);
  }

  /** The step (with a fraction) at a place. */
  stepAt(x, axis) {
    return axis === "step" ? x : between(this.rows[ROWS[axis]], this.rows[0], x);
  }
}

/** The y at x, straight between the points; the first or last one outside of them. */
export function between(xs, ys, x) {
  if (!xs.length) return x;
  let low = 0, high = xs.length - 1;
  if (x <= xs[low]) return ys[low];
  if (x >= xs[high]) return ys[high];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle;
    else high = middle;
  }
  const share = xs[high] === xs[low] ? 0 : (x - xs[low]) / (xs[high] - xs[low]);
  return ys[low] + share * (ys[high] - ys[low]);
}

export function increments(axis) {
  return axis === "time" || axis === "clock" ? SECONDS : WHOLE;
}

/** Numbers at the x axis. */
export function xTicks(splits, axis) {
  const span = splits.length > 1 ? splits[splits.length - 1] - splits[0] : 0;
  return splits.map((value) => (value === null ? "" : xText(value, axis, span)));
}

export function xText(value, axis, span = 0) {
  if (axis === "clock") {
    const date = new Date(1000 * value);
    if (span > 2 * DAY) return date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
    return date.toLocaleTimeString("en-GB", span && span < 300 ? {} : { hour: "2-digit", minute: "2-digit" });
  }
  if (axis === "time") return span_s(value);
  if (axis === "tokens") return short(value);
  return value.toLocaleString("en-US", { maximumFractionDigits: value < 10 ? 2 : 0 });
}

function span_s(value) {
  if (value < 120) return `${trim(value)} s`;
  if (value < 7200) return `${trim(value / 60)} min`;
  return `${trim(value / 3600)} h`;
}

function short(value) {
  if (value >= 1e9) return `${trim(value / 1e9)}G`;
  if (value >= 1e6) return `${trim(value / 1e6)}M`;
  return value >= 1e3 ? `${trim(value / 1e3)}k` : trim(value);
}

function trim(value) {
  return String(Number(value.toPrecision(3)));
}
