// What happened in a run, on its charts: thin lines for what changes the run, ticks at the bottom
// for alerts. All marks of one pixel are one mark.
import { css } from "./colors.js";

const TONES = { bad: "--st-red-color", warn: "--st-orange-color", mark: "--st-violet-color", plain: "--st-gray-color" };
const RANK = ["plain", "mark", "warn", "bad"];
const LINES = ["reward", "resume", "pause", "setting"], TICK = 7;

export function drawMarks(plot, board, host) {
  const { ctx, bbox } = plot, ratio = devicePixelRatio;
  const marks = board.marks();
  if (!marks.length) return;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left - 4 * ratio, 0, bbox.width + 8 * ratio, bbox.top + bbox.height + 2 * ratio);
  ctx.clip();
  ctx.font = `600 ${11.5 * ratio}px ${css(host, "--st-font") || "sans-serif"}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "alphabetic";
  ctx.lineWidth = 1.25 * ratio;
  const drawn = new Map(); // one a pixel and kind: the worst
  for (const mark of marks) {
    const x = Math.round(plot.valToPos(board.xOf(mark.step), "x", true)) + 0.5;
    if (!(x >= bbox.left - 1 && x <= bbox.left + bbox.width + 1)) continue;
    const isLine = LINES.includes(mark.kind), key = `${Math.round(x / (isLine ? 1 : 2 * ratio))} ${isLine ? mark.kind : ""}`;
    const other = drawn.get(key);
    if (!other || RANK.indexOf(mark.tone) > RANK.indexOf(other.mark.tone)) drawn.set(key, { mark, x, isLine });
  }
  let free = -Infinity; // where the last label ends: one that would lie on it is left out
  for (const { mark, x, isLine } of drawn.values()) {
    ctx.strokeStyle = ctx.fillStyle = css(host, TONES[mark.tone] ?? TONES.plain);
    const isReward = mark.kind === "reward";
    ctx.globalAlpha = isReward || !isLine ? 1 : 0.6;
    ctx.setLineDash(isReward ? [4 * ratio, 3 * ratio] : isLine ? [1.5 * ratio, 3 * ratio] : []);
    ctx.lineWidth = (isLine ? 1.25 : 2) * ratio;
    ctx.beginPath();
    ctx.moveTo(x, isLine ? bbox.top : bbox.top + bbox.height - TICK * ratio);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    if (mark.label) free = label(ctx, bbox, mark.label, x, free, ratio);
  }
  ctx.restore();
}

/** Above the plot, where no curve runs; on the left where the right has no room. */
function label(ctx, bbox, text, x, free, ratio) {
  const width = ctx.measureText(text).width;
  const left = x + width < bbox.left + bbox.width ? x - 2 * ratio : x - width + 2 * ratio;
  if (left < free) return free;
  ctx.fillText(text, left, bbox.top - 5 * ratio);
  return left + width + 6 * ratio;
}

/** The marks within some pixels of a place (CSS pixels from the plot's left edge). */
export function marksNear(plot, board, left, pixels) {
  return board.marks().filter((mark) => Math.abs(plot.valToPos(board.xOf(mark.step), "x") - left) <= pixels);
}
