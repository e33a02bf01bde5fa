// The prompts of a step as a row of cells, each as bright as its completions are right, and the chosen
// prompt below.
import { cellText, cellTitle, problemFacts, undecidedOfProblem } from "./judged.js";
import { filterOf, filtersOf } from "./kinds.js";
import { el, format, setText, visible } from "./shared.js";

const WITH_TEXT = 24, AT_ONCE = 160, DOTS = 48;

export class Prompts {
  /** `act`: `prompt(index)`, `filter(key)`. */
  constructor(act) {
    this.act = act;
    this.groups = [];
    this.cells = el("div", { className: "cells", role: "listbox", "aria-label": "Prompts of the step" });
    this.label = el("span", { className: "label" });
    this.where = el("span", { className: "where" });
    this.num = el("span", { className: "faint", role: "status" });
    this.back = el("button", { onclick: () => act.move(-1) }, "‹");
    this.next = el("button", { onclick: () => act.move(1) }, "›");
    this.choices = el("span", { className: "filters" });
    this.element = el("div", { className: "prompts" },
      el("div", { className: "tools" }, this.label, this.back, this.where, this.next, this.num,
        el("span", { className: "gap" }), el("span", { className: "faint showing" }, "Show"), this.choices),
      this.cells);
  }

  /** What one looks for, and what it is called. */
  become(kind, { step, prompt, Prompt }) {
    this.kind = kind;
    setText(this.label, Prompt);
    this.back.title = `${Prompt} before (K)`;
    this.next.title = `Next ${prompt} (J)`;
    this.cells.setAttribute("aria-label", `${Prompt}s of the ${step}`);
    this.words = { prompt, Prompt };
    this.filters = filtersOf(kind).map(({ key, label, about }) => el("button", {
      title: about, dataset: { filter: key }, "aria-pressed": "false", onclick: () => this.act.filter(key),
    }, label));
    this.choices.replaceChildren(...this.filters);
  }

  /** `goesOn`: whether there are more before and after these. */
  show(groups, index, filter, goesOn) {
    this.groups = groups;
    setText(this.where, groups.length ? `${index + 1} of ${groups.length}` : "none");
    this.back.disabled = index <= 0 && !goesOn[0];
    this.next.disabled = index >= groups.length - 1 && !goesOn[1];
    for (const button of this.filters) button.setAttribute("aria-pressed", String(button.dataset.filter === filter));
    const fits = filterOf(this.kind, filter).group ?? (() => true);
    const first = Math.max(0, Math.min(index - AT_ONCE / 2, groups.length - AT_ONCE));
    const more = groups.length - AT_ONCE;
    this.cells.title = more > 0 ? `${AT_ONCE} ${this.words.prompt}s around the chosen one; ${more} more` : "";
    const shown = groups.slice(first, first + AT_ONCE);
    const stamp = JSON.stringify([shown.map((group) => [group.id, fits(group)]), index]);
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    this.cells.dataset.dense = String(groups.length > WITH_TEXT);
    const hadFocus = this.cells.contains(this.cells.getRootNode().activeElement);
    this.cells.replaceChildren(...shown.map((group, i) => this.cell(group, first + i, first + i === index, fits(group))));
    if (hadFocus) this.cells.querySelector("[aria-selected=true]")?.focus({ preventScroll: true });
  }

  /** How much a filter leaves of the step's prompts, and of the completions at hand. */
  count(groups, filter, rollouts) {
    const { group, one } = filterOf(this.kind, filter);
    const here = one ? ` · ${rollouts.filter(one).length} of ${rollouts.length} here` : "";
    setText(this.num, group ? `${groups.filter(group).length} of ${groups.length} ${this.words.prompt}s${here}` : "");
  }

  cell(group, index, isChosen, fits) {
    const share = group.num ? group.num_correct / group.num : 0;
    const isAsked = this.kind === "evaluation";
    const right = `${group.num_correct} of ${group.num} right`;
    const said = isAsked ? cellTitle(group) : `${right} · mean reward ${format(group.reward_mean)}${group.flat ? " · no signal" : ""}`;
    const title = `${index + 1}. ${visible(group.prompt)}\n${said}`;
    const cell = el("button", {
      className: "cell", role: "option", title, tabIndex: isChosen ? 0 : -1, "aria-selected": String(isChosen), "aria-label": `${this.words.Prompt} ${index + 1}: ${isAsked ? said : right}`,
      dataset: { flat: String(Boolean(group.flat)), fits: String(fits) }, onclick: () => this.act.prompt(index),
    }, this.groups.length > WITH_TEXT ? "" : isAsked ? cellText(group) : `${group.num_correct}/${group.num}`);
    cell.style.setProperty("--share", `${Math.round(70 * share)}%`);
    return cell;
  }
}

/** Of a sample, as the z-score divides by it; null of fewer than two. */
function deviation(values) {
  if (values.length < 2) return null;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
}

function whyFlat(summary, stillPulls) {
  if (summary.reward_max === null) return "No completion of this group has a reward: all are left out.";
  const why = summary.reward_max - summary.reward_min <= 1e-12 ? "all rewards of this group are equal, so every advantage is 0" : "every advantage of this group is 0";
  return `No signal: ${why}${stillPulls ? "; only the KL or entropy term of the loss still pulls at it" : ", and it moves nothing"}.`;
}

function learntFrom(group, summary) {
  const spread = deviation(group.rollouts.map(({ reward }) => reward).filter((reward) => reward !== null));
  return [["Right", `${summary.num_correct} of ${summary.num}`], ["Mean reward", format(summary.reward_mean)], ["Deviation", format(spread)]];
}

/** The prompt itself: two lines until it is unfolded, with what is known of its group. */
export class PromptCard {
  /** `act`: `occasion(step, group)`, `unfold()`. */
  constructor(act) {
    this.act = act;
    this.text = el("div", { className: "prompt" });
    this.fold = el("button", { className: "quiet", onclick: () => act.unfold(), title: "The whole prompt and its data columns (v)" }, "Show all");
    this.stats = el("div", { className: "stats" });
    this.columns = el("dl", { className: "columns", hidden: true });
    this.flat = el("div", { className: "alert flat", dataset: { tone: "warn" }, hidden: true });
    this.times = el("div", { className: "times", hidden: true });
    this.element = el("section", { className: "promptcard" }, el("div", { className: "line" }, this.text, this.fold), this.columns,
      el("div", { className: "line" }, this.stats, this.times), this.flat);
  }

  show(group, summary, isOpen, stillPulls) {
    if (group === this.group && isOpen === this.isOpen) return;
    this.group = group;
    this.isOpen = isOpen;
    this.text.classList.toggle("short", !isOpen);
    setText(this.text, visible(group.prompt.trim()));
    setText(this.fold, isOpen ? "Show less" : "Show all");
    this.columns.hidden = !isOpen || !group.columns.length;
    this.columns.replaceChildren(...group.columns.flatMap(({ name, text }) => [el("dt", {}, visible(name)), el("dd", {}, visible(text))]));
    const isAsked = group.kind === "evaluation";
    const facts = [
      [isAsked ? "Reference answer" : "Answer", visible(group.answer) || "—"], ...(isAsked ? problemFacts(summary) : learntFrom(group, summary)),
      ["Mean length", `${format(summary.length_mean, "count")} tokens`],
    ];
    this.stats.replaceChildren(...facts.map(([label, value]) => el("div", {},
      el("div", { className: "faint label" }, label), el("div", { className: "value", title: value }, value))));
    const remark = isAsked ? undecidedOfProblem(summary) : summary.flat ? whyFlat(summary, stillPulls) : "";
    this.flat.hidden = !remark;
    setText(this.flat, remark);
  }

  /** The same problem at other steps, `num` of them: a dot each, as high as its mean reward. */
  showTimes(groups, current, num) {
    this.times.hidden = groups.length < 2;
    if (groups.length < 2) return;
    const at = groups.findIndex(({ id }) => id === current);
    const first = Math.max(0, Math.min(at < 0 ? groups.length : at - DOTS / 2, groups.length - DOTS));
    const shown = groups.slice(first, first + DOTS);
    const values = shown.map((group) => group.reward_mean).filter((value) => value !== null);
    const low = Math.min(...values), span = Math.max(1e-9, Math.max(...values) - low);
    const dots = shown.map((group) => {
      const dot = el("button", {
        className: "dot", "aria-label": `Step ${group.step}`, "aria-current": String(group.id === current),
        title: `step ${group.step} · ${group.num_correct} of ${group.num} right · mean reward ${format(group.reward_mean)}`,
        onclick: () => this.act.occasion(group.step, group.id),
      });
      dot.style.setProperty("--high", `${group.reward_mean === null ? 0 : Math.round((100 * (group.reward_mean - low)) / span)}%`);
      return dot;
    });
    this.times.replaceChildren(el("span", { className: "faint" }, shown.length < num ? `This prompt, ${shown.length} of ${num} times` : `This prompt, ${num} times`), el("span", { className: "dots" }, ...dots));
  }
}
