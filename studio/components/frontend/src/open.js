// The right side of the Inspector: the open completion with its facts, its colours and its reward.
import { CHANNELS, channelOf } from "./channels.js";
import { Completion, number, tipText } from "./completion.js";
import { foundOf, judgedChips, undecidedOf, whereOf } from "./judged.js";
import { el, format, setText, visible } from "./shared.js";

const OUTCOMES = {
  abstain: "abstained", error: "reward error", timeout: "reward timeout", crash: "reward crashed",
  nonfinite: "not finite", badtype: "wrong type",
};

export class Open {
  /** `act`: `choose(token)`, `color(key)`, `toggle("fold" | "diff" | "wrap")`. */
  constructor(act) {
    this.tip = el("div", { className: "tip", role: "tooltip" });
    this.text = new Completion({
      choose: act.choose,
      unfold: () => act.toggle("fold"),
      tip: (event, token) => this.showTip(event, token),
    });
    this.facts = el("div", { className: "facts" });
    this.colors = CHANNELS.map(({ key, label, about }, index) => el("button", {
      title: `${about} (${index + 1})`, dataset: { channel: key }, "aria-pressed": "false", onclick: () => act.color(key),
    }, label));
    this.fold = el("button", { title: "Fold what it thought (f)", "aria-pressed": "false", onclick: () => act.toggle("fold") }, "Fold thought");
    this.diff = el("button", { "aria-pressed": "false", onclick: () => act.toggle("diff") });
    this.about = el("div", { className: "faint about" });
    this.reward = el("div", { className: "breakdown" });
    this.palette = [el("span", { className: "faint" }, "Colour"), ...this.colors];
    this.tools = el("div", { className: "tools" }, ...this.palette, el("span", { className: "gap" }), this.fold, this.diff);
    this.element = el("section", { className: "open" }, this.facts, this.tools, this.about, this.text.element, this.reward, this.tip);
  }

  destroy() {
    this.text.destroy();
  }

  /** Of an evaluation no tokens are kept that could have a colour. */
  become(kind, { best }) {
    this.best = best;
    this.diff.title = `What it says that the ${best} one does not (d)`;
    setText(this.diff, `Diff to ${best}`);
    for (const node of this.palette) node.hidden = kind !== "run";
    if (kind === "run") this.tools.after(this.about);
    else this.tools.prepend(this.about); // in the place of the colours
  }

  /** `view`: {rollout, best, trace, pass, state, most}. */
  show(view) {
    this.view = view;
    const { rollout, best, trace, state } = view;
    const isDiff = state.diff && best !== rollout;
    const channel = trace ? channelOf(state.color) : null;
    for (const button of this.colors) {
      button.setAttribute("aria-pressed", String(button.dataset.channel === channel?.key));
      button.disabled = !trace || isDiff;
    }
    this.fold.setAttribute("aria-pressed", String(state.fold));
    this.diff.setAttribute("aria-pressed", String(isDiff));
    this.diff.disabled = best === rollout;
    setText(this.about, isDiff ? `Green: only here. Struck out: only in the ${this.best} completion.` : aboutOf(view, channel));
    const pass = trace?.passes[view.pass];
    this.text.show({
      text: rollout.text || " ", trace: trace ?? null, pass, channel, most: view.most, token: state.token,
      fold: state.fold, find: state.find, against: isDiff ? best.text : null, key: rollout.id,
    });
    if (rollout === this.rollout) return;
    this.facts.replaceChildren(...factsOf(rollout));
    this.reward.replaceChildren(...breakdown(rollout));
    this.rollout = rollout;
  }

  showTip(event, token) {
    const { trace, pass } = this.view ?? {};
    const isShown = token !== null && Boolean(trace);
    this.tip.style.display = isShown ? "block" : "none";
    if (!isShown) return;
    setText(this.tip, tipText(trace, trace.passes[pass], token));
    const { offsetWidth, offsetHeight } = this.tip;
    const above = event.clientY + 18 + offsetHeight > innerHeight;
    this.tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - offsetWidth - 8))}px`;
    this.tip.style.top = `${above ? event.clientY - offsetHeight - 12 : event.clientY + 18}px`;
  }
}

function aboutOf({ rollout, trace, pass, state }, channel) {
  if (rollout.judged) return whereOf(rollout.judged);
  if (!rollout.traced) return "The tokens of this completion were not kept. They are for the first groups of a step with signal, as many as store.token_groups says.";
  if (!trace) return "";
  const clipped = trace.passes[pass].clipped.some(Boolean) && channel?.key !== "ratio" ? " Underlined: beyond the clip." : "";
  if (channel && state.pass !== null && trace.passes.length > 1) return `${channel.about}${clipped} Pass ${state.pass + 1}; the strips show the last one.`;
  return channel ? channel.about + clipped : "Hover a token for its numbers, click it to see it in the objective.";
}

function factsOf(rollout) {
  const cutOff = rollout.finish === "length" ? [el("span", { className: "chip", dataset: { tone: "warn" } }, "cut off")] : [];
  const facts = rollout.judged ? [...judgedChips(rollout), ...cutOff, foundOf(rollout)] : learntFrom(rollout, cutOff);
  return [el("b", { className: "name" }, `Completion ${rollout.rank}`), ...facts, el("span", { className: "faint" }, `${rollout.num_tokens} tokens`)];
}

function learntFrom(rollout, cutOff) {
  const { advantage } = rollout;
  const tone = !advantage ? "plain" : advantage > 0 ? "good" : "bad";
  const worth = advantage === null ? "left out" : `advantage ${advantage > 0 ? "+" : advantage < 0 ? "−" : ""}${Math.abs(advantage).toFixed(3)}`;
  const chips = [
    el("span", { className: "chip", dataset: { tone } }, worth),
    el("span", { className: "chip", dataset: { tone: rollout.correct ? "good" : "plain" } }, rollout.correct ? "right" : "wrong"), ...cutOff,
  ];
  if (OUTCOMES[rollout.outcome]) chips.push(el("span", { className: "chip", dataset: { tone: "warn" } }, OUTCOMES[rollout.outcome]));
  if (rollout.num_clipped) chips.push(el("span", { className: "chip", dataset: { tone: "plain" } }, `${rollout.num_clipped} clipped`));
  return [el("span", {}, "reward ", el("b", {}, rollout.reward === null ? "—" : rollout.reward.toFixed(3).replace("-", "−"))), ...chips];
}

/** Each part times its weight; where the advantage comes from; what the reward printed, and how it
 * failed. */
function breakdown(rollout) {
  const nodes = [];
  const undecided = rollout.judged ? undecidedOf(rollout.judged) : "";
  if (undecided) nodes.push(el("div", { className: "fault" }, undecided));
  if (rollout.parts.length && !rollout.judged) {
    const cells = rollout.parts.flatMap(({ name, value, weight, adds }) => [
      el("span", {}, visible(name)), el("span", { className: "num" }, value === null ? "does not apply" : format(value)),
      el("span", { className: "faint num" }, weight === null || value === null ? "" : `× ${Number(weight.toPrecision(4))}`),
      el("b", { className: "num" }, adds === null ? "" : format(adds)),
    ]);
    nodes.push(el("div", { className: "parttable", role: "table", "aria-label": "Reward, part by part" }, ...cells));
  }
  if (rollout.why) nodes.push(advantageOf(rollout.why));
  if (rollout.error) nodes.push(el("div", { className: "fault" }, visible(rollout.error)));
  if (rollout.printed) nodes.push(el("div", { className: "printed", title: "What the reward printed" }, visible(rollout.printed)));
  return nodes;
}

function advantageOf({ formula, numbers, value, note }) {
  const text = numbers ? `${formula} = ${numbers}` : formula;
  return el("div", { className: "worked" }, el("span", { className: "math" }, `${text} = `), el("b", { className: "math" }, number(value).trim()),
    note ? el("span", { className: "faint" }, `  ${note}`) : "");
}
