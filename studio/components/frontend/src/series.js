// The curves of a run in the browser: grows by what each poll brings, forgets what a resume undid.

export class Store {
  constructor() {
    this.clear();
  }

  clear() {
    this.cursor = 0;
    this.attempt = 0;
    this.thinned = false;
    this.curves = new Map();
    this.detail = null;
  }

  /** True when the answer brought or took away points. */
  apply(answer) {
    const fresh = this.cursor === 0;
    if (fresh) this.clear();
    else if (answer.drop_after !== null) this.dropAfter(answer.drop_after);
    for (const [name, [steps, values]] of Object.entries(answer.series)) this.extend(name, steps, values);
    this.attempt = answer.attempt;
    this.cursor = answer.cursor;
    this.thinned = fresh ? answer.thinned : this.thinned;
    return fresh || answer.drop_after !== null || Object.keys(answer.series).length > 0;
  }

  extend(name, steps, values) {
    const curve = this.curves.get(name) ?? { steps: [], values: [] };
    steps.forEach((step, i) => {
      let at = curve.steps.length;
      while (at > 0 && curve.steps[at - 1] >= step) at -= 1;
      // The first answer may overlap with the second: the same step is replaced, not doubled.
      const num = curve.steps[at] === step ? 1 : 0;
      curve.steps.splice(at, num, step);
      curve.values.splice(at, num, values[i]);
    });
    this.curves.set(name, curve);
  }

  dropAfter(step) {
    this.detail = null;
    for (const curve of this.curves.values()) {
      let num = curve.steps.length;
      while (num > 0 && curve.steps[num - 1] > step) num -= 1;
      curve.steps.length = curve.values.length = num;
    }
  }

  /** A curve, in full detail where a zoom has fetched it. */
  curve(name) {
    const coarse = this.curves.get(name) ?? { steps: [], values: [] };
    const fine = this.detail?.series[name];
    if (!fine) return coarse;
    const { low } = this.detail;
    const high = fine[0].length ? fine[0][fine[0].length - 1] : low;
    const pick = (keep) => {
      const kept = coarse.steps.map((step, i) => [step, coarse.values[i]]).filter(([step]) => keep(step));
      return { steps: kept.map((pair) => pair[0]), values: kept.map((pair) => pair[1]) };
    };
    const before = pick((step) => step < low);
    const after = pick((step) => step > high);
    return {
      steps: [...before.steps, ...fine[0], ...after.steps],
      values: [...before.values, ...fine[1], ...after.values],
    };
  }

  names() {
    return [...this.curves.keys()];
  }

  /** The newest value of a curve, or its value `back` points earlier; null where there is none. */
  last(name, back = 0) {
    const values = this.curves.get(name)?.values ?? [];
    return values[values.length - 1 - back] ?? null;
  }

  first(name) {
    return this.curves.get(name)?.values[0] ?? null;
  }

  lastStep() {
    let last = 0;
    for (const name of this.curves.keys()) last = Math.max(last, this.lastStepOf(name));
    return last;
  }

  lastStepOf(name) {
    return this.curves.get(name)?.steps.at(-1) ?? 0;
  }
}
