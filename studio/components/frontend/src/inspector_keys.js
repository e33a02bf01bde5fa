// Keys of the Inspector, and the card that lists them.
import { listenToKeys } from "./keys.js";
import { el } from "./shared.js";

/** What each key does; of an evaluation no tokens are kept, and nothing is learnt from it. */
function helpOf(kind, { step, prompt, best }) {
  const ofRun = [
    ["n  N", "next, previous step with signal"], ["m  M", "next, previous drop of the reward"], ["1 … 6", "colour tokens; again: none"],
    ["←  →", "the token before, after"], ["p", "its next pass of the update"], ["o", "the next algorithm beside it"],
  ];
  return [
    ["j  k", "next, previous completion"], ["J  K", `next, previous ${prompt}`], ["[  ]", `previous, next ${step}`], ...(kind === "run" ? ofRun : []),
    ["f", "fold the thought"], ["d", `diff to the ${best}`], ["v", "the whole prompt"],
    ["/", "search"], ["x", "next filter"], ["y", "copy a link to this view"], ["Esc", kind === "run" ? "close the token, end the search" : "end the search"], ["?", "this card"],
  ];
}

/** `act` has one method for each key; returns a function that ends it. */
export function listen(act) {
  const actions = {
    j: () => act.completion(1), k: () => act.completion(-1), J: () => act.prompt(1), K: () => act.prompt(-1),
    "[": () => act.step(-1), "]": () => act.step(1), n: () => act.jump("signal", false), N: () => act.jump("signal", true),
    m: () => act.jump("drop", false), M: () => act.jump("drop", true), ArrowLeft: () => act.token(-1), ArrowRight: () => act.token(1),
    p: () => act.pass(), o: () => act.row(), f: () => act.toggle("fold"), d: () => act.toggle("diff"), v: () => act.toggle("whole"), "/": () => act.search(), x: () => act.filter(),
    y: () => act.copy(), Escape: () => act.escape(), "?": () => act.help(),
  };
  for (let i = 1; i <= 6; i += 1) actions[String(i)] = () => act.color(i - 1);
  return listenToKeys(actions);
}

export function helpCard(close) {
  return el("section", { className: "help", hidden: true, "aria-label": "Keys" },
    el("header", {}, el("h4", {}, "Keys"), el("span", { className: "gap" }), el("button", { onclick: close }, "Close")), el("dl"));
}

/** What stands on the card, of a run or an evaluation. */
export function fillHelp(card, kind, words) {
  card.querySelector("dl").replaceChildren(...helpOf(kind, words).flatMap(([keys, what]) => [el("dt", {}, keys), el("dd", {}, what)]));
}
