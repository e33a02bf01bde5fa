// Colours of lines. They are read when drawing, so that a change of theme needs only a redraw.

// Chosen so that any two of the first six differ under each kind of colour blindness.
const LINES = {
  light: ["#3b5bdb", "#e8710a", "#12a594", "#7d1128", "#1f1147", "#866da8", "#868e9c", "#d6336c"],
  dark: ["#748ffc", "#ffa94d", "#63e6be", "#d6405f", "#a566a5", "#d5ccff", "#adb5bd", "#faa2c1"],
};
export const DASHES = [[], [8, 4], [3, 3], [10, 3, 2, 3]];

export function css(node, name) {
  return getComputedStyle(node).getPropertyValue(name).trim();
}

/** The colour of a run (or of a group of runs) among others; the theme is what the page's background says. */
export function lineColor(node, index) {
  const [r, g, b] = rgb(css(node, "--st-background-color"));
  const colors = 0.3 * r + 0.6 * g + 0.1 * b < 128 ? LINES.dark : LINES.light;
  return colors[index % colors.length];
}

/** The colour of a curve among others of one run. */
export function seriesColor(node, index) {
  const colors = css(node, "--st-chart-categorical-colors").split(",");
  return colors[index % colors.length].trim() || "#4c6ef5";
}

/** A colour as three numbers; themes write `#rrggbb` or `rgb(r, g, b)`. */
export function rgb(color) {
  const hex = /^#([\da-f]{2})([\da-f]{2})([\da-f]{2})/i.exec(color);
  if (hex) return hex.slice(1).map((part) => parseInt(part, 16));
  return (color.match(/[\d.]+/g) ?? [255, 255, 255]).slice(0, 3).map(Number);
}

export function withAlpha(color, alpha) {
  return `rgba(${rgb(color).join(", ")}, ${alpha})`;
}
