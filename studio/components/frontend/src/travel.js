// Where one goes in the Inspector, and what is loaded on the way.
import { stateOf } from "./address.js";
import { filterOf, wordsOf } from "./kinds.js";
import { getJson } from "./shared.js";

const RIBBON_MS = 15000;

export class Travel {
  /** `host`: the Inspector, with its state, its stock and its parts. */
  constructor(host) {
    this.host = host;
    this.forget();
  }

  /** Another run: nobody is on the way anywhere. */
  forget() {
    this.target = this.wanted = this.waiting = null;
    this.ribbonAt = this.ribbonEnd = 0;
  }

  loadRibbon() {
    this.ribbonAt = Date.now();
    this.ribbonEnd = this.host.stock.bounds?.last;
    this.host.steps.load(this.host.component.data.url);
  }

  /** New steps of a run that goes on; where a resume took steps away, nothing older stays. */
  async watch() {
    const { stock, state } = this.host, { life } = stock;
    const bounds = await getJson(`${stock.url}/steps`, stock.kind === "run" ? undefined : wordsOf(stock.kind).gone);
    if (life !== stock.life) return; // another run by now
    const before = stock.bounds;
    stock.bounds = bounds;
    this.host.offline.hidden = true;
    if (bounds.kind) this.host.become(bounds);
    if (bounds.first === null) {
      this.host.say(bounds.problem || bounds.about?.note || wordsOf(stock.kind).early);
      return;
    }
    const here = { prompt: state.prompt, completion: state.completion };
    if (before?.attempt && before.attempt !== bounds.attempt) this.go({ step: state.follow ? bounds.last : state.step ?? bounds.last, ...here });
    else if (this.waiting) this.enter(this.waiting);
    else if (state.follow && bounds.last !== state.step) this.go({ step: bounds.last, ...here });
    else if (state.step !== null) this.host.steps.show(bounds, state.step, state.follow);
    if (this.ribbonEnd !== bounds.last && Date.now() - this.ribbonAt > RIBBON_MS) this.loadRibbon();
  }

  /** Open what an address names, as far as it is there. */
  enter(view) {
    Object.assign(this.host.state, stateOf(view));
    this.host.search.set(this.host.state.find);
    this.waiting = null;
    if (!this.host.stock.bounds || this.host.stock.bounds.first === null) this.waiting = view;
    else {
      const { step, prompt, completion, token, pass } = this.host.state;
      this.go({ step: step ?? this.host.stock.bounds.last, prompt, completion, token, pass });
    }
  }

  /**
   * Go to `{step, prompt | group, completion | rollout, token, pass}`, by default the first group with
   * signal. One is loaded at a time; of what is asked for meanwhile the last counts, so that a key
   * that is held moves on at the pace of the answers.
   */
  async go(target) {
    const { bounds } = this.host.stock;
    if (!bounds || bounds.first === null || !Number.isFinite(target.step)) return;
    this.target = { ...target, step: Math.max(bounds.first, Math.min(bounds.last, Math.round(target.step))) };
    this.wanted = this.target;
    if (this.isLoading) return;
    this.isLoading = true;
    try {
      while (this.target) {
        const next = this.target;
        this.target = null;
        await this.load(next);
      }
    } finally {
      this.isLoading = false;
      this.wanted = null;
    }
  }

  async load({ step, reuse, ...to }) {
    const { stock, state } = this.host;
    const found = reuse && stock.step.step === step ? stock.step : await stock.loadStep(step);
    if (!found) return null;
    const { groups } = found;
    if (!groups.length) {
      const { step: name } = wordsOf(stock.kind);
      this.host.say(`The completions of this ${name} are gone; choose another ${name}.`);
      return null;
    }
    const edge = to.edge ? this.atEdge(groups, to.edge) : 0;
    if (edge < 0) return this.past(step, to.edge);
    let index = to.prompt ? to.prompt - 1 : to.edge ? edge : groups.findIndex((group) => group.id === to.group);
    if (index < 0 || index >= groups.length) index = mostTelling(groups);
    if (state.only === "clipped") await stock.countClipped(groups);
    const group = await stock.loadGroup(groups[index], found);
    if (!group) return null;
    if (step !== stock.bounds.last) state.follow = false;
    Object.assign(state, { step, prompt: index + 1, token: null, pass: to.pass ?? null });
    this.host.steps.show(stock.bounds, step, state.follow);
    this.host.showGroup(group);
    const rank = to.rollout ? group.rollouts.find((one) => one.id === to.rollout)?.rank : to.completion;
    return this.host.openCompletion(Math.max(1, Math.min(rank ?? 1, group.rollouts.length)), to.token ?? null);
  }

  /** A step on or back; at the end one stays where one is. */
  moveStep(by) {
    const { bounds } = this.host.stock;
    const step = (this.wanted?.step ?? this.host.state.step) + by;
    return bounds && step >= bounds.first && step <= bounds.last ? this.go({ step }) : false;
  }

  movePrompt(by) {
    const { wanted } = this, { stock, state } = this.host;
    const fits = filterOf(stock.kind, state.only).group ?? (() => true);
    const from = wanted?.prompt && wanted.step === state.step ? wanted.prompt : state.prompt;
    for (let index = from - 1 + by; index >= 0 && index < stock.groups.length; index += by) {
      if (fits(stock.groups[index])) return this.go({ step: state.step, prompt: index + 1, reuse: true });
    }
    const [before, after] = this.goesOn();
    return (by > 0 ? after : before) ? this.go({ step: state.step + by, edge: by }) : null;
  }

  /** Whether there are problems before and after the batch: its bounds mean nothing to who reads. */
  goesOn() {
    const { stock, state } = this.host, isAsked = stock.kind === "evaluation";
    return [isAsked && state.step > stock.bounds.first, isAsked && state.step < stock.bounds.last];
  }

  /** The first, or from behind the last, of a batch's problems that the filter leaves; -1 without one. */
  atEdge(groups, by) {
    const { stock, state } = this.host;
    const fits = filterOf(stock.kind, state.only).group ?? (() => true);
    return by > 0 ? groups.findIndex(fits) : groups.findLastIndex(fits);
  }

  /** No problem of this batch is left by the filter: on to the next one, unless one has turned elsewhere. */
  past(step, by) {
    const { first, last } = this.host.stock.bounds;
    if (this.target) return null;
    if (step + by >= first && step + by <= last) return this.load({ step: step + by, edge: by });
    return this.host.say(`No ${by > 0 ? "further" : "earlier"} problem is like that.`, 2500);
  }

  /** The first prompt after this one that a filter leaves, or of all; none where it leaves none. */
  nearestThatFits() {
    const { stock, state } = this.host;
    const fits = filterOf(stock.kind, state.only).group ?? (() => true);
    const after = stock.groups.findIndex((group, index) => index >= state.prompt && fits(group));
    const index = after >= 0 ? after : stock.groups.findIndex(fits);
    if (index >= 0 && index !== state.prompt - 1) this.go({ step: state.step, prompt: index + 1, reuse: true });
    if (index < 0 && this.goesOn()[1]) this.go({ step: state.step + 1, edge: 1 });
  }

  async jump(kind, back) {
    const { stock, state } = this.host, { step } = state, { life } = stock;
    const found = await stock.get(`next?${new URLSearchParams({ kind, step, back: back ? "1" : "0" })}`);
    if (!found || life !== stock.life || step !== state.step) return; // one has moved on meanwhile
    if (found.step) this.go({ step: found.step, group: found.id });
    else this.host.say(kind === "signal" ? "No further step has a group with an advantage." : "The reward does not drop any more.", 2500);
  }

  follow(follow) {
    const { stock, state } = this.host;
    if (!stock.bounds || stock.bounds.first === null) return;
    state.follow = follow;
    this.go({ step: follow ? stock.bounds.last : state.step, prompt: state.prompt, completion: state.completion });
  }
}

/** The first group that moves something, if possible one whose tokens were kept. */
function mostTelling(groups) {
  const traced = groups.findIndex((group) => !group.flat && group.num_traced);
  return traced >= 0 ? traced : Math.max(0, groups.findIndex((group) => !group.flat));
}
