// The card that lists the keys of the Live page.
import { el } from "./shared.js";

const KEYS = [
  ["/", "filter metrics"], ["s  S", "more, less smoothing"], ["t", "next x axis"], ["l", "logarithmic y axis"],
  ["o", "clip outliers"], ["e", "marks of events"], ["f", "full screen of the chart under the pointer"],
  ["p", "pin that chart"], ["z", "reset the zoom"], ["?", "this card"], ["Esc", "close"],
];

export function helpCard() {
  const rows = KEYS.map(([key, what]) => el("tr", {}, el("th", { scope: "row" }, ...key.split("  ").map((one) => el("kbd", {}, one))), el("td", {}, what)));
  return [el("h4", {}, "Keyboard"), el("table", { className: "keys" }, el("tbody", {}, ...rows)),
    el("p", { className: "faint" }, "Drag over a chart to zoom all of them, double-click to reset, click a point to open its completions.")];
}
