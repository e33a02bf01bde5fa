// The Inspector: a step, its prompts, what was sampled for one of them, down to the token. Asks the
// studio's routes on its own; the page's script only hears where one is (`view`), for the address.
import { FRESH, addressOf, copyLink, writeAddress } from "./address.js";
import { CHANNELS } from "./channels.js";
import { Formula } from "./formula.js";
import { INSPECTOR_CSS } from "./inspector_css.js";
import { fillHelp, helpCard, listen } from "./inspector_keys.js";
import { aboutLine, showAbout } from "./judged.js";
import { filterAfter, filterOf, wordsOf } from "./kinds.js";
import { Open } from "./open.js";
import { PromptCard, Prompts } from "./prompts.js";
import { Ranking } from "./ranking.js";
import { Search } from "./search.js";
import { BASE_CSS, el, mountOnce, poll, setText } from "./shared.js";
import { Steps } from "./steps.js";
import { Stock, newestPass } from "./stock.js";
import { Travel } from "./travel.js";

const TELL_MS = 250, POLL_MS = 3000;
const instances = new WeakMap();

export default function (component) {
  return mountOnce(instances, component, (made) => new Inspector(made), (inspector) => inspector.update());
}

class Inspector {
  constructor(component) {
    this.component = component;
    this.state = { ...FRESH, fold: false, diff: false, whole: false, follow: false };
    this.stock = new Stock((text) => this.say(text));
    this.travel = new Travel(this);
    this.build();
    this.stopKeys = listen(this.keys());
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.root);
  }

  build() {
    this.steps = new Steps({ go: (step) => this.travel.go({ step }), jump: (kind, back) => this.travel.jump(kind, back), follow: (on) => this.travel.follow(on) });
    this.prompts = new Prompts({ prompt: (index) => this.travel.go({ step: this.state.step, prompt: index + 1, reuse: true }), move: (by) => this.travel.movePrompt(by), filter: (key) => this.filter(key) });
    this.card = new PromptCard({ occasion: (step, group) => this.travel.go({ step, group }), unfold: () => this.toggle("whole") });
    this.search = new Search({
      find: (text) => this.find(text), newest: () => this.stock.bounds?.last ?? 0, url: () => this.component.data.url,
      open: (step, group, rollout) => { this.search.panel.hidden = true; this.travel.go({ step, group, rollout }); },
    });
    this.ranking = new Ranking({ completion: (rank) => this.openCompletion(rank), token: (rank, token) => this.openCompletion(rank, token) });
    this.open = new Open({ choose: (token) => this.choose(token), color: (key) => this.color(key), toggle: (name) => this.toggle(name) });
    this.formula = new Formula({
      row: (row) => this.set({ row }), pass: (pass) => this.set({ pass }), close: () => this.choose(null),
    }, this.component.data.algorithms);
    this.help = helpCard(() => { this.help.hidden = true; });
    this.about = aboutLine();
    this.copied = el("button", { title: "Copy a link to this view (y)", onclick: () => this.copy() }, "Copy link");
    this.note = el("div", { className: "empty", hidden: true, role: "status" });
    this.offline = el("div", { className: "alert offline", hidden: true, role: "status", dataset: { tone: "warn" } });
    this.body = el("div", { className: "body", hidden: true },
      this.card.element, el("div", { className: "split" }, this.ranking.element, el("div", { className: "right" }, this.open.element, this.formula.element)));
    this.root = el("div", { className: "root inspector" }, el("style", { textContent: BASE_CSS + INSPECTOR_CSS }),
      this.about, this.steps.element, this.prompts.element,
      el("div", { className: "bar2" }, this.search.element, el("span", { className: "gap" }), this.copied,
        el("button", { title: "Keys (?)", onclick: () => { this.help.hidden = !this.help.hidden; } }, "?")),
      el("div", { className: "overlay" }, this.search.panel, this.help), this.offline, this.note, this.body);
    this.become({ kind: "run" });
    this.component.parentElement.append(this.root);
  }

  /** A run, or an evaluation, which says what it is about: other words, other filters. */
  become({ kind, about = null, first = null }) {
    showAbout(this.about, about, first !== null); // without a batch the sentence stands in its place
    if (kind === this.root.dataset.kind) return;
    this.root.dataset.kind = kind;
    const words = wordsOf(kind);
    for (const part of [this.steps, this.prompts, this.search, this.ranking, this.open]) part.become(kind, words);
    fillHelp(this.help, kind, words);
  }

  keys() {
    return {
      completion: (by) => this.moveCompletion(by), prompt: (by) => this.travel.movePrompt(by), step: (by) => this.travel.moveStep(by),
      jump: (kind, back) => this.ofRun(() => this.travel.jump(kind, back)), toggle: (name) => this.toggle(name), color: (index) => this.ofRun(() => this.color(CHANNELS[index].key)),
      token: (by) => this.moveToken(by), pass: () => this.nextPass(), row: () => this.nextRow(),
      search: () => this.search.input.focus(), copy: () => this.copy(), help: () => { this.help.hidden = !this.help.hidden; },
      filter: () => this.filter(filterAfter(this.stock.kind, this.state.only)),
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
      this.travel.enter(goto.view);
    } else {
      this.draw();
      if (this.stock.group) this.tell(); // what stands under the component may be another
    }
  }

  restart() {
    this.poller?.stop();
    this.stock.clear(this.component.data.url);
    this.travel.forget();
    this.body.hidden = true;
    this.note.hidden = true;
    this.poller = poll(() => this.travel.watch(), () => POLL_MS, (error) => {
      setText(this.offline, error.message);
      this.offline.hidden = false;
    });
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

  /** Everything that depends on the state, from what is there. Each part draws only what changed. */
  show() {
    const { stock, state } = this;
    const { group, groups } = stock;
    const rollout = this.rollout();
    if (!rollout) return;
    const trace = stock.traces.get(rollout.id) ?? null;
    const last = trace ? newestPass(trace) : 0;
    const pass = Math.min(state.pass ?? last, (trace?.passes.length ?? 1) - 1);
    if (trace && state.token !== null && (state.token < 0 || state.token >= trace.pieces.length)) state.token = null;
    this.prompts.show(groups, state.prompt - 1, state.only, this.travel.goesOn());
    this.card.show(group, stock.summary, state.whole, stock.step.still_pulls);
    const fits = this.fits();
    this.ranking.mark(state.completion, fits);
    this.prompts.count(groups, state.only, group.rollouts);
    this.search.count(group.rollouts.filter((one) => has(one, state.find)).length, group.rollouts.length);
    const most = stock.strips?.most ?? 0; // as in the strips: of the whole group
    this.open.show({ rollout, best: group.rollouts[0], trace, pass, state, most });
    const isAsked = trace && state.token !== null;
    this.formula.show(isAsked ? { url: this.component.data.url, rollout: rollout.id, token: state.token, pass, passes: trace.passes.length, row: state.row, num: trace.pieces.length } : null);
    this.ranking.draw(stock.strips, state.color);
    this.tell();
  }

  fits() {
    const one = filterOf(this.stock.kind, this.state.only).one ?? (() => true);
    return (rollout) => one(rollout) && has(rollout, this.state.find);
  }

  /** Another theme or another width: all canvases anew. */
  draw() {
    this.ranking.forget();
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
    if (at !== null && this.state.fold && !this.open.text.spanOf(at)) this.set({ fold: false });
    if (at !== null) this.open.text.choose(at);
  }

  moveToken(by) {
    const trace = this.stock.traces.get(this.rollout()?.id);
    if (!trace) return false;
    const { token } = this.state;
    return this.choose(token === null ? (by > 0 ? 0 : trace.pieces.length - 1) : token + by);
  }

  /** The next pass of the update, and the next algorithm beside the run's own, round and round. */
  nextPass() {
    const num = this.formula.at?.passes ?? 0;
    return num > 1 ? this.set({ pass: (this.formula.at.pass + 1) % num }) : false;
  }

  nextRow() {
    if (!this.formula.at) return false;
    const rows = ["", ...this.component.data.algorithms];
    return this.set({ row: rows[(rows.indexOf(this.state.row) + 1) % rows.length] });
  }

  moveCompletion(by) {
    const fits = this.fits(), { rollouts } = this.stock.group ?? { rollouts: [] };
    for (let rank = this.state.completion + by; rank >= 1 && rank <= rollouts.length; rank += by) {
      if (fits(rollouts[rank - 1])) return this.openCompletion(rank);
    }
    return null;
  }

  /** What means something in a run alone; elsewhere its key is nobody's. */
  ofRun(act) {
    return this.stock.kind === "run" ? act() : false;
  }

  async filter(only) {
    this.state.only = only;
    if (only === "clipped") await this.stock.countClipped();
    const fits = this.fits(), { rollouts } = this.stock.group ?? { rollouts: [] };
    const first = rollouts.find(fits);
    if (first && !fits(this.rollout())) await this.openCompletion(first.rank);
    else this.show();
    if (!first) this.travel.nearestThatFits();
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
    else if (this.state.find) { this.search.set(""); this.search.changed(); }
    else return false;
    return true;
  }

  tell() {
    const view = addressOf(this.state);
    const { dataset } = this.root;
    Object.assign(dataset, { step: view.step, prompt: view.prompt, completion: view.completion, token: view.at ?? "", shown: String(Number(dataset.shown ?? 0) + 1) });
    writeAddress(this.run, { ...view, ...this.component.data.below });
    clearTimeout(this.telling);
    this.telling = setTimeout(() => {
      const told = JSON.stringify([this.run, view, this.stock.group?.id]);
      if (told === this.told || !this.stock.group) return;
      this.told = told;
      this.component.setStateValue("view", { run: this.run, group: this.stock.group.id, ...view });
    }, TELL_MS);
  }

  async copy() {
    const isCopied = await copyLink(this.run, { ...addressOf(this.state), ...this.component.data.below });
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
