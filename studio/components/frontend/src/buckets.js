// A curve in the browser: buckets of points, so that it takes no more memory however long one
// watches. A bucket knows its lowest and highest point, and mean and count of its values. No imports.

export const LIMIT = 500, RECENT = 100;
const FIELDS = ["first", "last", "lowAt", "low", "highAt", "high", "mean", "count"];

export class Curve {
  constructor() {
    for (const field of FIELDS) this[field] = [];
    /** Steps at which the line begins anew: before them it was not in force. */
    this.breaks = new Set();
  }

  get length() { return this.first.length; }

  get lastStep() { return this.last[this.length - 1] ?? 0; }

  /** `columns`: [steps, values], or all eight fields of buckets; `breaks`: see above. */
  append(columns, breaks = []) {
    for (const step of breaks) this.breaks.add(step);
    if (!columns[0].length) return this;
    this.dropFrom(columns[0][0]); // a step that comes again replaces what was there
    if (columns.length === 2) {
      const [steps, values] = columns;
      for (let i = 0; i < steps.length; i += 1) if (values[i] !== null) this.push(steps[i], steps[i], steps[i], values[i], steps[i], values[i], values[i], 1);
    } else {
      for (let i = 0; i < columns[0].length; i += 1) this.push(...columns.map((column) => column[i]));
    }
    while (this.length > 2 * LIMIT) if (!this.halve()) break;
    return this;
  }

  push(...values) {
    for (let i = 0; i < FIELDS.length; i += 1) this[FIELDS[i]].push(values[i]);
  }

  dropFrom(step) {
    let num = this.length;
    while (num > 0 && this.last[num - 1] >= step) num -= 1;
    if (num < this.length) for (const field of FIELDS) this[field].length = num;
  }

  /** Two neighbours become one, the first point and the newest ones aside; false if none could. */
  halve() {
    const end = this.length - RECENT, old = new Curve();
    for (const field of FIELDS) { old[field] = this[field]; this[field] = []; }
    for (let i = 0; i < old.length; i += 1) {
      const pair = i > 0 && i + 1 < end && !this.breaks.has(old.first[i + 1]);
      if (pair) { this.push(...merged(old, i, i + 1)); i += 1; } else this.push(...FIELDS.map((field) => old[field][i]));
    }
    return this.length < old.length;
  }

  /** This stretch in the place of what is there. */
  replaced(fine) {
    if (!fine.length) return this;
    const low = fine.first[0], high = fine.lastStep, whole = new Curve();
    let before = 0, after = this.length;
    while (before < this.length && this.last[before] < low) before += 1;
    while (after > before && this.first[after - 1] > high) after -= 1;
    for (const field of FIELDS) whole[field] = [...this[field].slice(0, before), ...fine[field], ...this[field].slice(after)];
    whole.breaks = new Set([...this.breaks, ...fine.breaks]);
    return whole;
  }

  /** The newest bucket that begins at or before a step; -1 where there is none. */
  indexAt(step) {
    let low = -1, high = this.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.first[middle] <= step) low = middle;
      else high = middle;
    }
    return low;
  }

  /** The value of the newest bucket, or of the one `back` before it; null where there is none. */
  at(back = 0) {
    return this.mean[this.length - 1 - back] ?? null;
  }
}

function merged(of, a, b) {
  const lowest = of.low[a] <= of.low[b] ? a : b, highest = of.high[a] >= of.high[b] ? a : b;
  const count = of.count[a] + of.count[b];
  const mean = (of.mean[a] * of.count[a] + of.mean[b] * of.count[b]) / count;
  return [of.first[a], of.last[b], of.lowAt[lowest], of.low[lowest], of.highAt[highest], of.high[highest], mean, count];
}

/**
 * Exponential moving average without the bias of its start, one value a bucket. A bucket counts as
 * often as it has values, as if all of them were its mean: exact where nothing is thinned.
 */
export function smoothed(curve, weight) {
  let sum = 0, total = 0;
  return curve.mean.map((mean, i) => {
    const kept = weight ** curve.count[i], share = weight < 1 ? (1 - kept) / (1 - weight) : curve.count[i];
    sum = sum * kept + mean * share;
    total = total * kept + share;
    return sum / total;
  });
}
