// What the judge said of a completion of an evaluation, in words.
import { el, setStatus, setText, visible } from "./shared.js";

const RULES = {
  answer_tag: ["<answer>", "The answer is what stands in the last <answer> … </answer>."],
  boxed: ["\\boxed", "The answer is what stands in the last \\boxed{…}."],
  hashes: ["####", "The answer is what follows the last ####."],
  phrase: ["“the answer is”", "The answer is what follows “the answer is”."],
  bare_number: ["only a number", "The text is a number and nothing else."],
  last_number: ["last number", "Nothing marks an answer, so the last number of the text is taken for it."],
  none: ["nothing found", "There is nothing in it that could be an answer."],
  unfinished_thinking: ["unfinished thought", "Its thought never ends, and what is said in a thought is no answer."],
};
const NO_VERDICT = {
  timeout: "The judge did not come to a verdict in time: it counts as wrong.",
  crash: "The judge crashed on this answer, so that no verdict came: it counts as wrong.",
  error: "The judge failed on this answer, so that no verdict came: it counts as wrong.",
};

/** Which model was asked what, and how far that is. */
export function aboutLine() {
  return el("div", { className: "aboutline", hidden: true }, el("span", { className: "badge" }), el("span", { className: "facts" }), el("span", { className: "faint" }));
}

/** `about` as the route gives it, null of a run; with its note, if there is one, or without. */
export function showAbout(line, about, withNote) {
  line.hidden = !about;
  if (!about) return;
  const [status, facts, note] = line.children;
  setStatus(status, about.status);
  setText(facts, about.facts.map(visible).join(" · "));
  setText(note, withNote ? visible(about.note) : "");
}

/** The rule that found the answer, as a label. */
export function ruleOf({ rule }) {
  return RULES[rule]?.[0] ?? visible(rule.replaceAll("_", " "));
}

/** Where the answer stood, in a sentence. */
export function whereOf({ rule, extracted }) {
  if (extracted === null && ["answer_tag", "boxed"].includes(rule)) return `There is nothing in its last ${rule === "boxed" ? "\\boxed{}" : "<answer></answer>"}.`;
  return RULES[rule]?.[1] ?? "";
}

/** Why there is no verdict; nothing where there is one. */
export function undecidedOf({ verdict }) {
  return verdict === "ok" ? "" : NO_VERDICT[verdict] ?? "No verdict came: it counts as wrong.";
}

export function answerOf({ extracted }) {
  return extracted === null ? "no answer" : visible(extracted);
}

/** `right`, `wrong` or `not judged`, for people. */
export function verdictOf({ correct, judged }) {
  if (judged.verdict !== "ok") return "not judged";
  return correct ? "right" : "wrong";
}

/** A sign for it. */
export function signOf(rollout) {
  const verdict = verdictOf(rollout);
  return el("span", { className: "sign", title: verdict, dataset: { verdict } }, { right: "✓", wrong: "×", "not judged": "?" }[verdict]);
}

/** The answer and how it was found, such as `18 · ####`. */
export function foundOf({ judged }) {
  return el("span", { className: "found-answer", title: judged.extracted === null ? "" : answerOf(judged) },
    "answer ", el("b", { className: judged.extracted === null ? "nothing" : "" }, answerOf(judged)), el("span", { className: "faint" }, ` · ${ruleOf(judged)}`));
}

/** Chips: greedy or sampled, right or wrong. */
export function judgedChips(rollout) {
  const verdict = verdictOf(rollout);
  const tone = { right: "good", wrong: "bad", "not judged": "warn" }[verdict];
  return [
    el("span", { className: "chip", dataset: { tone: "plain" } }, visible(rollout.judged.kind)),
    el("span", { className: "chip", dataset: { tone } }, verdict),
  ];
}

/** What a problem of an evaluation came to, as labels with values. */
export function problemFacts(summary) {
  const { num_samples: num, num_samples_right: right } = summary;
  return [["Greedy", summary.greedy_right ? "right" : "wrong"], ...(num ? [["Samples right", `${right} of ${num}`]] : [])];
}

/** A sentence about what the judge did not decide. */
export function undecidedOfProblem({ num_undecided: num }) {
  return num ? `${num} ${num === 1 ? "completion" : "completions"} got no verdict from the judge and ${num === 1 ? "counts" : "count"} as wrong.` : "";
}

/** What a cell of the row of problems says: the greedy answer, and the samples. */
export function cellText({ greedy_right: isRight, num_samples: num, num_samples_right: right }) {
  return `${isRight ? "✓" : "×"}${num ? ` ${right}/${num}` : ""}`;
}

export function cellTitle({ greedy_right: isRight, num_samples: num, num_samples_right: right }) {
  return `greedy ${isRight ? "right" : "wrong"}${num ? ` · ${right} of ${num} samples right` : ""}`;
}
