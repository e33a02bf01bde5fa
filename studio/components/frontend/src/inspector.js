// The Inspector: a step, its prompts, what was sampled for one of them, down to the token. Asks the
// studio's routes on its own; the page's script only hears where one is (`view`), for the address.
import { FRESH, addressOf, copyLink, stateOf, writeAddress } from "./address.js";
import { CHANNELS } from "./channels.js";
import { Formula } from "./formula.js";
import { INSPECTOR_CSS } from "./inspector_css.js";
import { helpCard, listen } from "./inspector_keys.js";
import { Open } from "./open.js";
import { FILTERS, PromptCard, Prompts } from "./prompts.js";
import { Ranking } from "./ranking.js";
import { Search } from "./search.js";
import { BASE_CSS, el, getJson, mountOnce, poll, setText } from "./shared.js";
import { Steps } from "./steps.js";
import { Stock, newestPass } from "./stock.js";

const TELL_MS = 250, POLL_MS = 3000, RIBBON_MS = 15000;
const instances = new WeakMap();

export default function (component) {
  return mountOnce(instances, component, (made) => new Inspector(made), (inspector) => inspector.update());
}

class Inspector {
  constructor(component) {
    this.component = component;
    this.state = { ...FRESH, fold: false, diff: false, whole: false, follow: false };
    this.stock = new Stock((text) => this.say(text));
    this.build();
    this.stopKeys = listen(this.keys());
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.root);
  }

  build() {
    this.steps = new Steps({ go: (step) => this.go({ step }), jump: (kind, back) => this.jump(kind, back), follow: (on) => this.follow(on) });
    this.prompts = new Prompts({ prompt: (index) => this.go({ step: this.state.step, prompt: index + 1, reuse: true }), move: (by) => this.movePrompt(by), filter: (key) => this.filter(key) });
    this.card = new PromptCard({ occasion: (step, group) => this.go({ step, group }), unfold: () => this.toggle("whole") });
    this.search = new Search({
      find: (text) => this.find(text), newest: () => this.stock.bounds?.last ?? 0, url: () => this.component.data.url,
      open: (step, group, rollout) => this.go({ step, group, rollout }),
    });
    this.ranking = new Ranking({ completion: (rank) => this.openCompletion(rank), token: (rank, token) => this.openCompletion(rank, token) });
    this.open = new Open({ choose: (token) => this.choose(token), color: (key) => this.color(key), toggle: (name) => this.toggle(name) });
    this.formula = new Formula({
      row: (row) => this.set({ row }), pass: (pass) => this.set({ pass }), close: () => this.choose(null),
    }, this.component.data.algorithms);
    this.help = helpCard(() => { this.help.hidden = true; });
    this.copied = el("button", { title: "Copy a link to this view (y)", onclick: () => this.copy() }, "Copy link");
    this.note = el("div", { className: "empty", hidden: true, role: "status" });
    this.offline = el("div", { className: "alert offline", hidden: true, role: "status", dataset: { tone: "warn" } });
    this.body = el("div", { className: "body", hidden: true },
      this.card.element, el("div", { className: "split" }, this.ranking.element, el("div", { className: "right" }, this.open.element, this.formula.element)));
    this.root = el("div", { className: "root inspector" }, el("style", { textContent: BASE_CSS + INSPECTOR_CSS }),
      this.steps.element, this.prompts.element,
      el("div", { className: "bar2" }, this.search.element, el("span", { className: "gap" }), this.copied,
        el("button", { title: "Keys (?)", onclick: () => { this.help.hidden = !this.help.hidden; } }, "?")),
      el("div", { className: "overlay" }, this.search.panel, this.help), this.offline, this.note, this.body);
    this.component.parentElement.append(this.root);
  }

  keys() {
    return {
      completion: (by) => this.moveCompletion(by), prompt: (by) => this.movePrompt(by), step: (by) => this.go({ step: (this.wanted?.step ?? this.state.step) + by }),
      jump: (kind, back) => this.jump(kind, back), toggle: (name) => this.toggle(name), color: (index) => this.color(CHANNELS[index].key),
      token: (by) => this.moveToken(by),
      search: () => this.search.input.focus(), copy: () => this.copy(), help: () => { this.help.hidden = !this.help.hidden; },
      filter: () => this.filter(FILTERS[(FILTERS.findIndex(({ key }) => key === this.state.only) + 1) % FILTERS.length].key),
      escape: () => this.escape(),
    };
  }

  /** Streamlit calls this on every change of data or theme; `goto` has a new id when an address was
   * opened. */
  update() {
    const { run, goto } = this.component.data;
    if (run !== this.run || goto.id !== this.gone) {
      const isOther = run !== this.run;
      this.run = run;
      this.gone = goto.id;
      if (isOther) this.restart();
      this.enter(goto.view);
    } else this.draw();
  }

  restart() {
    this.poller?.stop();
    this.stock.clear(this.component.data.url);
    this.target = this.wanted = null;
    this.body.hidden = true;
    this.note.hidden = true;
    this.loadRibbon();
    this.poller = poll(() => this.watch(), () => POLL_MS, (error) => {
      setText(this.offline, error.message);
      this.offline.hidden = false;
    });
  }

  loadRibbon() {
    this.ribbonAt = Date.now();
    this.steps.load(this.component.data.url);
  }

  /** New steps of a run that goes on; where a resume took steps away, nothing older stays. */
  async watch() {
    const { stock, state } = this, { life } = stock;
    const bounds = await getJson(`${stock.url}/steps`);
    if (life !== stock.life) return; // another run by now
    const before = stock.bounds;
    stock.bounds = bounds;
    this.offline.hidden = true;
    if (bounds.first === null) {
      this.say(bounds.problem || "This run has not finished its first step. Come back in a moment.");
      return;
    }
    const here = { prompt: state.prompt, completion: state.completion };
    if (before?.attempt && before.attempt !== bounds.attempt) this.go({ step: state.step ?? bounds.last, ...here });
    else if (this.waiting) this.enter(this.waiting);
    else if (state.follow && bounds.last !== state.step) this.go({ step: bounds.last, ...here });
    else if (state.step !== null) this.steps.show(bounds, state.step, state.follow);
    if (before?.last !== bounds.last && Date.now() - this.ribbonAt > RIBBON_MS) this.loadRibbon();
  }

  /** Open what an address names, as far as it is there. */
  enter(view) {
    Object.assign(this.state, stateOf(view));
    this.search.set(this.state.find);
    this.waiting = null;
    if (!this.stock.bounds || this.stock.bounds.first === null) this.waiting = view;
    else {
      const { step, prompt, completion, token, pass } = this.state;
      this.go({ step: step ?? this.stock.bounds.last, prompt, completion, token, pass });
    }
  }

  /**
   * Go to `{step, prompt | group, completion | rollout, token, pass}`, by default the first group with
   * signal. One is loaded at a time; of what is asked for meanwhile the last counts, so that a key
   * that is held moves on at the pace of the answers.
   */
  async go(target) {
    const { bounds } = this.stock;
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
    const { stock, state } = this;
    const found = reuse && stock.step.step === step ? stock.step : await stock.loadStep(step);
    if (!found) return;
    const { groups } = found;
    if (!groups.length) {
      this.say("The completions of this step are gone; choose another step.");
      return;
    }
    let index = to.prompt ? to.prompt - 1 : groups.findIndex((group) => group.id === to.group);
    if (index < 0 || index >= groups.length) index = mostTelling(groups);
    if (state.only === "clipped") await stock.countClipped(groups);
    const group = await stock.loadGroup(groups[index], found);
    if (!group) return;
    if (step !== stock.bounds.last) state.follow = false;
    Object.assign(state, { step, prompt: index + 1, token: null, pass: to.pass ?? null });
    this.steps.show(stock.bounds, step, state.follow);
    this.showGroup(group);
    const rank = to.rollout ? group.rollouts.find((one) => one.id === to.rollout)?.rank : to.completion;
    await this.openCompletion(Math.max(1, Math.min(rank ?? 1, group.rollouts.length)), to.token ?? null);
  }

  showGroup(group) {
    const { stock } = this;
    this.note.hidden = true;
    this.body.hidden = false;
    this.ranking.show(group);
    this.card.showTimes([], group.id, 0);
    if (group.num_times < 2) return;
    stock.get(`times/${group.id}`).then((times) => {
      if (times && stock.group === group) this.card.showTimes(times.groups, group.id, group.num_times);
    });
  }

  async openCompletion(rank, token = null) {
    const rollout = this.stock.group?.rollouts[rank - 1];
    if (!rollout) return;
    Object.assign(this.state, { completion: rank, token });
    this.show();
    if (rollout.traced && !this.stock.traces.has(rollout.id)) {
      await this.stock.loadTrace(rollout);
      if (this.rollout() !== rollout) return;
      this.show();
    }
    if (token !== null) this.open.text.choose(token);
  }

  rollout() {
    return this.stock.group?.rollouts[this.state.completion - 1] ?? null;
  }

  /** Everything that depends on the state, from what is there. */
  show() {
    const { stock, state } = this;
    const { group, groups } = stock;
    const rollout = this.rollout();
    if (!rollout) return;
    const trace = stock.traces.get(rollout.id) ?? null;
    const last = trace ? newestPass(trace) : 0;
    const pass = Math.min(state.pass ?? last, (trace?.passes.length ?? 1) - 1);
    if (trace && state.token !== null && (state.token < 0 || state.token >= trace.pieces.length)) state.token = null;
    this.prompts.show(groups, state.prompt - 1, state.only);
    this.card.show(group, stock.summary, state.whole, stock.step.still_pulls);
    const fits = this.fits();
    this.ranking.mark(state.completion, fits);
    this.search.count(group.rollouts.filter((one) => has(one, state.find)).length, group.rollouts.length);
    const most = stock.strips?.most ?? 0; // as in the strips: of the whole group
    this.open.show({ rollout, best: group.rollouts[0], trace, pass, state, most });
    const isAsked = trace && state.token !== null;
    this.formula.show(isAsked ? { url: this.component.data.url, rollout: rollout.id, token: state.token, pass, passes: trace.passes.length, row: state.row, num: trace.pieces.length } : null);
    this.draw();
    this.tell();
  }

  fits() {
    const one = FILTERS.find(({ key }) => key === this.state.only)?.one ?? (() => true);
    return (rollout) => one(rollout) && has(rollout, this.state.find);
  }

  draw() {
    this.ranking.draw(this.stock.strips, this.state.color);
    if (this.state.step !== null && this.stock.bounds) this.steps.draw();
  }

  set(change) {
    Object.assign(this.state, change);
    this.show();
  }

  color(key) {
    this.set({ color: this.state.color === key ? "" : key, diff: false });
  }

  toggle(name) {
    this.set({ [name]: !this.state[name] });
  }

  find(find) {
    this.set({ find });
  }

  choose(token) {
    const trace = this.stock.traces.get(this.rollout()?.id);
    if (!trace && token !== null) return;
    const at = token === null ? null : Math.max(0, Math.min(trace.pieces.length - 1, token));
    this.set({ token: at, diff: false });
    if (at !== null) this.open.text.choose(at);
  }

  moveToken(by) {
    const trace = this.stock.traces.get(this.rollout()?.id);
    if (!trace) return false;
    const { token } = this.state;
    return this.choose(token === null ? (by > 0 ? 0 : trace.pieces.length - 1) : token + by);
  }

  moveCompletion(by) {
    const fits = this.fits(), { rollouts } = this.stock.group ?? { rollouts: [] };
    for (let rank = this.state.completion + by; rank >= 1 && rank <= rollouts.length; rank += by) {
      if (fits(rollouts[rank - 1])) return this.openCompletion(rank);
    }
    return null;
  }

  movePrompt(by) {
    const { stock, state, wanted } = this;
    const fits = FILTERS.find(({ key }) => key === state.only)?.group ?? (() => true);
    const from = wanted?.prompt && wanted.step === state.step ? wanted.prompt : state.prompt;
    for (let index = from - 1 + by; index >= 0 && index < stock.groups.length; index += by) {
      if (fits(stock.groups[index])) return this.go({ step: state.step, prompt: index + 1, reuse: true });
    }
    return null;
  }

  async jump(kind, back) {
    const { stock, state } = this, { step } = state, { life } = stock;
    const found = await stock.get(`next?${new URLSearchParams({ kind, step, back: back ? "1" : "0" })}`);
    if (!found || life !== stock.life || step !== state.step) return; // one has moved on meanwhile
    if (found.step) this.go({ step: found.step, group: found.id });
    else this.say(kind === "signal" ? "No further step has a group with an advantage." : "The reward does not drop any more.", 2500);
  }

  follow(follow) {
    const { stock, state } = this;
    if (!stock.bounds || stock.bounds.first === null) return;
    state.follow = follow;
    this.go({ step: follow ? stock.bounds.last : state.step, prompt: state.prompt, completion: state.completion });
  }

  async filter(only) {
    this.state.only = only;
    if (only === "clipped") await this.stock.countClipped();
    const fits = this.fits(), { rollouts } = this.stock.group ?? { rollouts: [] };
    const first = rollouts.find(fits);
    if (first && !fits(this.rollout())) await this.openCompletion(first.rank);
    else this.show();
  }

  /** A sentence in place of nothing; for `ms` where it is a passing one. */
  say(text, ms = 0) {
    setText(this.note, text);
    this.note.hidden = false;
    clearTimeout(this.saying);
    if (ms) this.saying = setTimeout(() => { this.note.hidden = true; }, ms);
  }

  escape() {
    if (!this.help.hidden) this.help.hidden = true;
    else if (!this.search.panel.hidden) this.search.panel.hidden = true;
    else if (this.state.token !== null) this.choose(null);
    else return false;
    return true;
  }

  tell() {
    const view = addressOf(this.state);
    const { dataset } = this.root;
    Object.assign(dataset, { step: view.step, prompt: view.prompt, completion: view.completion, token: view.at ?? "", shown: String(Number(dataset.shown ?? 0) + 1) });
    writeAddress(this.run, view);
    clearTimeout(this.telling);
    this.telling = setTimeout(() => {
      const told = JSON.stringify([this.run, view, this.stock.group?.id]);
      if (told === this.told || !this.stock.group) return;
      this.told = told;
      this.component.setStateValue("view", { run: this.run, group: this.stock.group.id, ...view });
    }, TELL_MS);
  }

  async copy() {
    const isCopied = await copyLink(this.run, addressOf(this.state));
    setText(this.copied, isCopied ? "Copied" : "Not allowed here");
    setTimeout(() => setText(this.copied, "Copy link"), 1500);
  }

  destroy() {
    this.poller?.stop();
    this.stopKeys();
    this.resized.disconnect();
    this.open.destroy();
    clearTimeout(this.telling);
  }
}

function has(rollout, find) {
  return !find || rollout.text.toLowerCase().includes(find.toLowerCase());
}

/** The first group that moves something, if possible one whose tokens were kept. */
function mostTelling(groups) {
  const traced = groups.findIndex((group) => !group.flat && group.num_traced);
  return traced >= 0 ? traced : Math.max(0, groups.findIndex((group) => !group.flat));
}
