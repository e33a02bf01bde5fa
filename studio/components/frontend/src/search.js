// Finding a text: in the group at hand at once, in the steps before on demand.
import { marked } from "./completion.js";
import { el, format, getJson, setText, visible } from "./shared.js";

const STEPS = 400, WAIT_MS = 200;

export class Search {
  /** `act`: `find(text)`, `open(step, group, rollout)`, `newest()`, `url()`. */
  constructor(act) {
    this.act = act;
    this.turn = 0;
    this.input = el("input", { type: "search", placeholder: "Search in completions", "aria-label": "Search in completions", spellcheck: false });
    this.input.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.changed(), WAIT_MS);
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { this.set(""); this.changed(); this.input.blur(); }
      if (event.key === "Enter") this.everywhere();
      event.stopPropagation();
    });
    this.here = el("span", { className: "faint here" });
    this.all = el("button", { hidden: true, onclick: () => this.everywhere() });
    this.more = el("button", { hidden: true, onclick: () => this.further() }, "Look further back");
    this.state = el("span", { className: "faint" });
    this.hits = el("div", { className: "hits", role: "list" });
    this.panel = el("div", { className: "panel", hidden: true }, el("div", { className: "tools" }, this.state, el("span", { className: "gap" }), this.more,
      el("button", { onclick: () => { this.panel.hidden = true; } }, "Close")), this.hits);
    this.element = el("div", { className: "search" }, this.input, this.here, this.all);
  }

  become(kind, words) {
    this.isRun = kind === "run";
    this.words = words;
    setText(this.all, `All ${words.steps}`);
  }

  /** Another run or an address: nothing of an earlier search stays. */
  set(text) {
    this.input.value = text;
    this.turn += 1;
    this.panel.hidden = true;
  }

  changed() {
    const text = this.input.value;
    this.all.hidden = !text;
    if (!text) this.panel.hidden = true;
    this.act.find(text);
  }

  /** How many completions of the group have it. */
  count(num, of) {
    setText(this.here, this.input.value ? `${num} of ${of} here` : "");
    this.all.hidden = !this.input.value;
  }

  async everywhere() {
    if (!this.input.value) return;
    this.panel.hidden = false;
    this.hits.replaceChildren();
    this.num = 0;
    this.before = this.act.newest();
    this.after = 0;
    await this.further();
  }

  hit({ step, group_id: group, id, prompt, text, correct, reward }, wanted) {
    return el("button", { role: "listitem", title: visible(prompt), onclick: () => this.act.open(step, group, id) },
      el("span", { className: "faint num" }, `${this.words.step} ${step}`), el("span", { className: "faint asked" }, visible(prompt)),
      el("span", { className: "said" }, ...marked(text, wanted)),
      el("span", { className: "faint num" }, `${correct ? "right" : "wrong"}${this.isRun ? ` · ${format(reward)}` : ""}`));
  }

  async further() {
    const text = this.input.value, turn = ++this.turn;
    this.more.hidden = true;
    setText(this.state, "Looking …");
    const query = new URLSearchParams({ text, before: this.before, after: this.after, steps: STEPS });
    let answer;
    try {
      answer = await getJson(`${this.act.url()}/find?${query}`);
      if (answer.problem) throw new Error(answer.problem);
    } catch (error) {
      setText(this.state, error.message);
      return;
    }
    if (turn !== this.turn) return;
    this.num += answer.hits.length;
    this.before = answer.before;
    this.after = answer.after;
    this.hits.append(...answer.hits.map((hit) => this.hit(hit, text)));
    this.more.hidden = this.before <= 0;
    const found = `${this.num} completion${this.num === 1 ? "" : "s"}`;
    setText(this.state, this.before > 0 ? `${found} down to ${this.words.step} ${this.before}` : `${found} in all ${this.words.steps}`);
  }
}
