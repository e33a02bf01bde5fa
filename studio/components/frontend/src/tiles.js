// The newest numbers in large, and the newest events as a list.
import { el, format, setText } from "./shared.js";

const BACK = 10;

export class Tiles {
  constructor(specs) {
    this.tiles = specs.map((spec) => {
      const value = el("div", { className: "value" }, "—"), note = el("div", { className: "faint note" }, "\u00a0");
      return { spec, value, note, element: el("div", { className: "tile" }, el("div", { className: "faint label" }, spec.label), value, note) };
    });
    this.element = el("div", { className: "tiles" }, ...this.tiles.map((tile) => tile.element));
  }

  show(run) {
    for (const { spec, value, note } of this.tiles) {
      const isFirst = spec.since === "first";
      // A number of every step that the newest steps do not have is none of theirs.
      const isOld = !isFirst && run.lastStepOf(spec.name) < run.lastStepOf("time/step_s");
      setText(value, format(isOld ? null : run.last(spec.name), spec.format));
      const old = isFirst ? run.first(spec.name) : run.last(spec.name, BACK);
      const at = run.lastStepOf(spec.name);
      const label = isFirst ? `step ${at}; at the start` : `${BACK} steps ago`;
      // Rewards of two versions do not compare.
      const changed = spec.name.startsWith("reward/") ? run.changes().findLast((step) => step > run.lastStepOf(spec.name) - BACK) : undefined;
      if (isFirst && at === 0) setText(note, "measured at step 0");
      else if (changed !== undefined) setText(note, `other reward since step ${changed}`);
      else setText(note, old === null ? "\u00a0" : `${label}: ${format(old, spec.format)}`);
    }
  }
}

export class Events {
  constructor() {
    this.list = el("ol", { className: "events" });
    this.element = el("section", { className: "card", hidden: true, "aria-label": "Events" },
      el("header", {}, el("h4", {}, "Events")), this.list);
  }

  show({ events }) {
    this.element.hidden = events.length === 0;
    const stamp = events.map((event) => event.id).join();
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    this.list.replaceChildren(...events.map((event) => el("li", { dataset: { tone: event.tone } },
      el("span", { className: "faint num" }, `step ${event.step}`),
      el("b", {}, event.title),
      el("span", { className: "text" }, event.text),
      el("time", { className: "faint" }, new Date(event.time * 1000).toLocaleTimeString("en-GB")))));
  }
}
