// The completions of a group from best to worst: reward in its parts, advantage, and all tokens at a
// glance.
import { css, drawStrip, ramp } from "./channels.js";
import { answerOf, ruleOf, signOf, undecidedOf, verdictOf } from "./judged.js";
import { el, format, visible } from "./shared.js";

const DENSE = 16;
const COLUMNS = {
  run: [["#"], ["reward"], ["parts", "wide"], ["adv."], ["tokens", "wide"]],
  evaluation: [["#"], [""], [""], ["answer", "wide"], ["found as", "wide"], ["tokens", "wide"], [""]],
};

export class Ranking {
  /** `act`: `completion(rank)`, `token(rank, token)`. */
  constructor(act) {
    this.act = act;
    this.rows = [];
    this.list = el("div", { className: "rows", role: "listbox", tabIndex: 0 });
    this.legend = el("div", { className: "partlegend" });
    this.head = el("div", { className: "rowhead faint" });
    this.element = el("section", { className: "ranking" }, this.head, this.list, this.legend);
  }

  become(kind, { order }) {
    this.list.setAttribute("aria-label", order);
    this.head.replaceChildren(...COLUMNS[kind].map(([label, className = ""]) => el("span", { className }, label)));
  }

  /** `group` as the route gives it. */
  show(group) {
    const { rollouts } = group;
    this.longest = Math.max(1, ...rollouts.map((one) => one.num_tokens));
    this.names = [...new Set(rollouts.flatMap(({ parts }) => parts.map(({ name }) => name)))];
    const sums = rollouts.map(({ parts }) => [1, -1].map((sign) => parts.reduce((sum, { adds }) => sum + Math.max(0, sign * (adds ?? 0)), 0)));
    this.scale = { above: Math.max(1e-9, ...sums.map(([above]) => above)), below: Math.max(0, ...sums.map(([, below]) => below)) };
    this.list.dataset.dense = String(rollouts.length > DENSE);
    this.rows = rollouts.map((rollout) => (rollout.judged ? this.judgedRow(rollout) : this.row(rollout)));
    this.list.replaceChildren(...this.rows.map(({ element }) => element));
    this.legend.replaceChildren(...(this.names.length > 1 && group.kind === "run" ? this.names.map((name, index) => {
      const dot = el("i", { className: "dot" });
      dot.style.background = color(this.element, index);
      return el("span", { className: "item" }, dot, visible(name));
    }) : []));
  }

  /** Of an evaluation: the answer that was found in place of the reward and what it is worth. */
  judgedRow(rollout) {
    const { judged } = rollout, length = el("i");
    length.style.width = `${(100 * rollout.num_tokens) / this.longest}%`;
    const facts = [`${judged.kind}, ${verdictOf(rollout)}`, undecidedOf(judged), `${rollout.num_tokens} tokens${rollout.finish === "length" ? ", cut off" : ""}`];
    const element = el("div", { className: "row", id: `completion-${rollout.rank}`, role: "option", "aria-selected": "false", dataset: { rank: rollout.rank, asked: judged.kind },
      title: facts.filter(Boolean).join("\n"), onclick: () => this.act.completion(rollout.rank) },
      el("span", { className: "rank faint" }, String(rollout.rank)), el("span", { className: "asked-how" }, visible(judged.kind)), signOf(rollout),
      el("span", { className: `said${judged.extracted === null ? " nothing" : ""}` }, answerOf(judged)), el("span", { className: "rule faint" }, ruleOf(judged)),
      el("span", { className: "length" }, length), el("span", { className: "faint num" }, rollout.num_tokens.toLocaleString("en-US")));
    return { rollout, element };
  }

  row(rollout) {
    const parts = el("canvas", { className: "parts" }), strip = el("canvas", { className: "strip" });
    const { advantage } = rollout;
    const tone = advantage === null ? "none" : Math.abs(advantage) < 1e-9 ? "zero" : advantage > 0 ? "good" : "bad";
    const worth = advantage === null ? "out" : `${advantage > 0 ? "+" : advantage < 0 ? "−" : ""}${Math.abs(advantage).toFixed(2)}`;
    const element = el("div", { className: "row", id: `completion-${rollout.rank}`, role: "option", "aria-selected": "false", dataset: { rank: rollout.rank, tone }, title: titleOf(rollout) },
      el("span", { className: "rank faint" }, String(rollout.rank)),
      el("span", { className: "reward" }, rollout.reward === null ? "—" : rollout.reward.toFixed(2).replace("-", "−")),
      parts, el("span", { className: "worth" }, worth), strip);
    element.style.setProperty("--size", `${Math.round(25 + 45 * Math.min(1, Math.abs(advantage ?? 0) / 2))}%`);
    element.addEventListener("click", (event) => {
      const box = strip.getBoundingClientRect();
      const share = (event.clientX - box.left) / (box.width * (rollout.num_tokens / this.longest));
      if (event.target === strip && rollout.traced && share >= 0 && share < 1) this.act.token(rollout.rank, Math.floor(share * rollout.num_tokens));
      else this.act.completion(rollout.rank);
    });
    return { rollout, element, parts, strip };
  }

  /** `fits(rollout)` says which are to be seen; the others stand back. */
  mark(rank, fits) {
    for (const { rollout, element } of this.rows) {
      const chosen = rollout.rank === rank;
      if (chosen && element.getAttribute("aria-selected") !== "true") keepInView(this.list, element);
      element.setAttribute("aria-selected", String(chosen));
      if (chosen) this.list.setAttribute("aria-activedescendant", element.id);
      element.dataset.fits = String(fits(rollout));
    }
  }

  /** The next `draw` draws, whatever it draws. */
  forget() {
    this.drawn = null;
  }

  /** All canvases, where the completions, their numbers or the channel are others than last time. */
  draw(strips, channel) {
    const { rows } = this;
    if (!rows.length || !this.list.clientWidth) return;
    if (this.drawn?.rows === rows && this.drawn.strips === strips && this.drawn.channel === channel) return;
    this.drawn = { rows, strips, channel };
    const colors = ramp(this.element);
    const palette = this.names.map((_, index) => color(this.element, index));
    for (const { rollout, parts, strip } of this.rows) {
      if (!strip) continue;
      drawParts(parts, rollout.parts, this.names, palette, this.scale);
      drawStrip(strip, strips?.get(rollout.id), channel, rollout.num_tokens / this.longest, colors);
    }
  }
}

/** The list scrolls, never the page. */
function keepInView(list, element) {
  const top = element.offsetTop, bottom = top + element.offsetHeight;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
}

function color(node, index) {
  const colors = css(node, "--st-chart-categorical-colors").split(",");
  return colors[index % colors.length].trim() || "#4c6ef5";
}

function titleOf(rollout) {
  const facts = [rollout.correct ? "right" : "wrong", `${rollout.num_tokens} tokens`];
  if (rollout.finish === "length") facts.push("cut off");
  const parts = rollout.parts.map(({ name, value, adds }) => `${visible(name)} ${format(value)}${adds === value ? "" : ` (adds ${format(adds)})`}`);
  return [facts.join(" · "), ...parts].join("\n");
}

/** What each part adds, stacked to the right of zero, and to the left what it takes away. */
function drawParts(canvas, parts, names, palette, scale) {
  const ratio = devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const unit = (width - 2) / (scale.above + scale.below);
  const zero = Math.round(scale.below * unit) + 1;
  let right = zero, left = zero;
  for (const { name, adds } of parts) {
    if (!adds) continue;
    context.fillStyle = palette[names.indexOf(name)];
    const size = Math.abs(adds) * unit;
    if (adds > 0) context.fillRect(right, 0, size, height);
    else context.fillRect(left - size, 0, size, height);
    if (adds > 0) right += size;
    else left -= size;
  }
  context.fillStyle = css(canvas, "--st-gray-color") || "#888";
  context.fillRect(zero - 1, 0, 1, height);
}
