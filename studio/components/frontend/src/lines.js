// From curves to the columns that uPlot draws: points, smoothed points, bands, on any x axis.
import { smoothed } from "./buckets.js";

/** All points of a curve's buckets, the lowest and the highest of each in their order. */
function rawPoints({ curve, places }, axis) {
  const x = [], y = [];
  const add = (step, value) => { x.push(places.of(step, axis)); y.push(value); };
  for (let i = 0; i < curve.length; i += 1) {
    // Between a stretch and the next one in which the curve is in force again lies a gap.
    if (i > 0 && curve.breaks.has(curve.first[i])) add((curve.last[i - 1] + curve.first[i]) / 2, null);
    if (curve.count[i] === 1 || curve.lowAt[i] === curve.highAt[i]) add(curve.lowAt[i], curve.low[i]);
    else if (curve.lowAt[i] < curve.highAt[i]) { add(curve.lowAt[i], curve.low[i]); add(curve.highAt[i], curve.high[i]); }
    else { add(curve.highAt[i], curve.high[i]); add(curve.lowAt[i], curve.low[i]); }
  }
  return { x, y };
}

function smoothPoints({ curve, places }, axis, weight) {
  const x = [], y = [], values = smoothed(curve, weight);
  values.forEach((value, i) => {
    if (i > 0 && curve.breaks.has(curve.first[i])) { x.push(places.of((curve.last[i - 1] + curve.first[i]) / 2, axis)); y.push(null); }
    x.push(places.of(curve.last[i], axis));
    y.push(value);
  });
  return { x, y };
}

/**
 * Columns for uPlot and how many points a logarithm has left out: of each line two, its points and
 * their moving average, or three of a band (mean, high, low). Where another column has an x that
 * this one lacks there is `undefined`, where the line has a gap there is `null`.
 */
export function columnsOf(lines, { axis, weight, logX, logY }) {
  let left = 0;
  const empty = { x: [], y: [] };
  const parts = lines.flatMap((line) => {
    if (line.band) return [line.band.mean, line.band.high, line.band.low].map((y) => ({ x: line.band.x, y: y ?? [] }));
    return [rawPoints(line, axis), line.smooth && weight > 0 ? smoothPoints(line, axis, weight) : empty];
  });
  const shown = parts.map(({ x, y }) => {
    if (!logX && !logY) return { x, y };
    const kept = { x: [], y: [] };
    for (let i = 0; i < y.length; i += 1) {
      if (logX && !(x[i] > 0)) { left += 1; continue; }
      kept.x.push(x[i]);
      const hole = logY && y[i] !== null && !(y[i] > 0);
      left += hole;
      kept.y.push(hole ? null : y[i]);
    }
    return kept;
  });
  return { columns: table(shown), left };
}

/**
 * One column of x and the columns of y beside it; each `x` is sorted. A gap is null in every row
 * between the points on its two sides: uPlot looks no further than the next row.
 */
export function table(parts) {
  const at = parts.map(() => 0), xs = [], columns = parts.map(() => []);
  const filler = parts.map(() => undefined), last = parts.map(() => -1);
  for (;;) {
    let next = Infinity;
    for (let i = 0; i < parts.length; i += 1) if (at[i] < parts[i].y.length && parts[i].x[at[i]] < next) next = parts[i].x[at[i]];
    if (next === Infinity) return [xs, ...columns];
    const row = xs.push(next) - 1;
    for (let i = 0; i < parts.length; i += 1) {
      const here = at[i] < parts[i].y.length && parts[i].x[at[i]] === next;
      const value = here ? parts[i].y[at[i]] : filler[i];
      columns[i].push(value);
      if (!here) continue;
      at[i] += 1;
      filler[i] = value === null ? null : undefined;
      if (value === null) columns[i].fill(null, last[i] + 1, row);
      else last[i] = row;
    }
  }
}

/** Lower and upper percentile (`edge`: a share) of what columns show between two rows; null for nothing. */
export function percentiles(columns, low, high, edge) {
  const values = [];
  for (const column of columns) {
    for (let i = low; i <= high; i += 1) if (column[i] !== null && column[i] !== undefined) values.push(column[i]);
  }
  if (!values.length) return null;
  const sorted = Float64Array.from(values).sort();
  const pick = (share) => sorted[Math.round(share * (sorted.length - 1))];
  return [pick(edge), pick(1 - edge)];
}

/** The value at a row, or the newest one before it: a curve with few points keeps its last. */
export function valueAt(column, idx) {
  let index = idx === null || idx === undefined ? column.length - 1 : idx;
  while (index >= 0 && column[index] === undefined) index -= 1;
  return index < 0 ? null : column[index];
}

/** The row nearest to `idx` at which a column has a value; null where it has none on one of its
 * sides, because the curve has not begun there or has ended. */
export function nearestRow(x, column, idx) {
  if (idx === null || idx === undefined || !column) return null;
  if (column[idx] !== null && column[idx] !== undefined) return idx;
  let left = idx, right = idx;
  while (left >= 0 && (column[left] === null || column[left] === undefined)) left -= 1;
  while (right < column.length && (column[right] === null || column[right] === undefined)) right += 1;
  if (left < 0 || right >= column.length) return null;
  return x[idx] - x[left] <= x[right] - x[idx] ? left : right;
}
