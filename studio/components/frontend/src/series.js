// One run in the browser: its curves, where its steps stand, what happened in it.
import { Curve } from "./buckets.js";
import { Places } from "./places.js";
import { LIVE, getJson, poll } from "./shared.js";

// An answer costs the server 3 ms, and where the run trains on all cores, the training as much.
const POLL_MS = 2000, SOON_MS = 700, IDLE_MS = 5000, HURRY_MS = 10_000;

export class Series {
  /** `changed(names | null)` after every answer (null: everything), `failed(error)` after none. */
  constructor(name, changed, failed) {
    this.name = name;
    this.url = `/api/runs/${name}`;
    this.clear();
    this.seen = this.source = "";
    this.run = null;
    this.problem = "";
    this.marks = [];
    this.events = [];
    this.changed = changed;
    this.hurried = 0;
    this.poller = poll(() => this.ask(), () => this.interval(), failed);
  }

  interval() {
    if (this.hurried > Date.now()) return SOON_MS;
    return this.isLive() ? POLL_MS : IDLE_MS;
  }

  /** Somebody has pressed a button: what comes of it is to be seen soon. */
  hurry() {
    this.hurried = Date.now() + HURRY_MS;
    this.poller.now();
  }

  clear() {
    this.cursor = this.attempt = 0;
    this.curves = new Map();
    this.places = new Places();
    this.detail = null;
    this.merged = new Map();
  }

  isLive() {
    return !this.run || LIVE.includes(this.run.status);
  }

  async ask() {
    const query = new URLSearchParams({ since: this.cursor, attempt: this.attempt, seen: this.seen, source: this.source });
    const answer = await getJson(`${this.url}/metrics?${query}`);
    if (!this.stopped) this.apply(answer);
  }

  apply(answer) {
    if (answer.whole) this.clear();
    for (const [name, columns] of Object.entries(answer.series)) {
      if (!this.curves.has(name)) this.curves.set(name, new Curve());
      this.curves.get(name).append(columns, answer.breaks[name]);
      this.merged.delete(name);
    }
    this.places.append(answer.places);
    const marked = answer.marks !== undefined;
    if (marked) {
      this.marks = answer.marks.map((mark) => ({ ...mark, label: mark.number ? `reward v${mark.number}` : "" }));
      this.events = answer.events;
    }
    const { attempt, cursor, seen, source, run, problem } = answer;
    Object.assign(this, { attempt, cursor, seen, source, run, problem });
    this.changed(answer.whole || marked ? null : Object.keys(answer.series));
  }

  /** A curve, in full detail where a zoom has fetched it. */
  curve(name) {
    const coarse = this.curves.get(name);
    const fine = this.detail?.get(name);
    if (!coarse || !fine) return coarse ?? new Curve();
    if (!this.merged.has(name)) this.merged.set(name, coarse.replaced(fine));
    return this.merged.get(name);
  }

  isThinned(names) {
    return names.some((name) => this.curves.get(name)?.count.some((count) => count > 1));
  }

  /** Fetch a stretch of some curves in detail; null forgets what was fetched. */
  async look(names, low, high) {
    const { series, breaks } = await getJson(`${this.url}/window?${new URLSearchParams([
      ["low", Math.floor(low)], ["high", Math.ceil(high)], ...names.map((name) => ["name", name])])}`);
    this.detail ??= new Map();
    for (const name of names) this.detail.set(name, new Curve().append(series[name], breaks[name]));
    this.merged.clear();
  }

  forgetDetail() {
    this.detail = null;
    this.merged.clear();
  }

  /** The steps at which other reward code came into force. */
  changes() {
    return this.marks.filter((mark) => mark.kind === "reward").map((mark) => mark.step);
  }

  last(name, back = 0) {
    return this.curves.get(name)?.at(back) ?? null;
  }

  first(name) {
    return this.curves.get(name)?.mean[0] ?? null;
  }

  lastStep() {
    let last = 0;
    for (const curve of this.curves.values()) last = Math.max(last, curve.lastStep);
    return last;
  }

  lastStepOf(name) {
    return this.curves.get(name)?.lastStep ?? 0;
  }

  stop() {
    this.stopped = true;
    this.poller.stop();
  }
}
