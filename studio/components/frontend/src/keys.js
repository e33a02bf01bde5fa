// Keyboard shortcuts of the Live page, and the card that lists them. R and C belong to Streamlit.
import { el } from "./shared.js";

export const KEYS = [
  ["/", "filter metrics"], ["s  S", "more, less smoothing"], ["t", "next x axis"], ["l", "logarithmic y axis"],
  ["o", "clip outliers"], ["e", "marks of events"], ["f", "full screen of the chart under the pointer"],
  ["p", "pin that chart"], ["z", "reset the zoom"], ["?", "this card"], ["Esc", "close"],
];
const EDITABLE = "input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]:not([contenteditable=false])";

/** Calls `actions[key]()`; returns a function that stops listening. */
export function listenToKeys(actions) {
  const listener = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    // The path sees into shadow roots, where the target is only their host.
    if (event.composedPath().some((node) => node instanceof Element && node.matches(EDITABLE))) return;
    const act = actions[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  };
  document.addEventListener("keydown", listener);
  return () => document.removeEventListener("keydown", listener);
}

export function helpCard() {
  const rows = KEYS.map(([key, what]) => el("tr", {}, el("th", { scope: "row" }, ...key.split("  ").map((one) => el("kbd", {}, one))), el("td", {}, what)));
  return [el("h4", {}, "Keyboard"), el("table", { className: "keys" }, el("tbody", {}, ...rows)),
    el("p", { className: "faint" }, "Drag over a chart to zoom all of them, double-click to reset, click a point to open its completions.")];
}
