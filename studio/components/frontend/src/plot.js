// What the charts of all pages share: columns for uPlot, axes, numbers at an axis.
import { css } from "./colors.js";

/** Columns for uPlot: all steps of the given curves, null where a curve has no point. */
export function align(curves) {
  const steps = [...new Set(curves.flatMap((curve) => curve.steps))].sort((a, b) => a - b);
  const index = new Map(steps.map((step, i) => [step, i]));
  const columns = curves.map((curve) => {
    const column = new Array(steps.length).fill(null);
    curve.steps.forEach((step, i) => { column[index.get(step)] = curve.values[i]; });
    return column;
  });
  return [steps, ...columns];
}

export function axisLook(host) {
  const font = `12px ${css(host, "--st-font") || "sans-serif"}`;
  return {
    stroke: () => css(host, "--st-gray-text-color"),
    grid: { stroke: () => css(host, "--st-border-color-light") || css(host, "--st-border-color"), width: 1 },
    ticks: { show: false },
    font,
    labelFont: font,
  };
}

/** A number at an axis. */
export function tick(value, form) {
  if (form === "percent") return `${Number((100 * value).toPrecision(4))}%`;
  if (Math.abs(value) >= 10000) return `${Number((value / 1000).toPrecision(4))}k`;
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1).replace(".0e", "e");
  return value.toLocaleString("en-US", { maximumSignificantDigits: 4 });
}
