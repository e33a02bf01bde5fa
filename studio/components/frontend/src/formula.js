// One token in the objective: each term as a formula, with its numbers, and what it comes to; under
// another row of algorithms beside it.
import { number } from "./completion.js";
import { el, getJson, setText, visible } from "./shared.js";

export class Formula {
  /** `act`: `row(name)`, `pass(number)`, `close()`; `rows`: names of all algorithms. */
  constructor(act, rows) {
    this.title = el("h4", {}, "");
    this.pass = el("select", { "aria-label": "Pass of the update", title: "Pass of the update (p)", onchange: () => act.pass(Number(this.pass.value)) });
    this.row = el("select", { "aria-label": "Beside it", title: "The same token under another algorithm (o)", onchange: () => act.row(this.row.value) },
      el("option", { value: "" }, "no other algorithm"), ...rows.map((name) => el("option", { value: name }, name)));
    this.body = el("div", { className: "terms" });
    this.notes = el("div", { className: "faint notes" });
    this.element = el("section", { className: "card formula", hidden: true, "aria-label": "The token in the objective" },
      el("header", {}, this.title, el("span", { className: "gap" }), this.pass,
        el("label", {}, "beside it ", this.row), el("button", { onclick: () => act.close(), title: "Close (Esc)" }, "Close")),
      this.body, this.notes);
  }

  /** `at`: {url, rollout, token, pass, passes, row, num}; null puts it away. */
  async show(at) {
    this.element.hidden = at === null;
    const key = JSON.stringify(at);
    if (key === this.key) return;
    this.at = at;
    this.key = key;
    if (!at) return;
    this.row.value = at.row;
    this.pass.replaceChildren(...Array.from({ length: at.passes }, (_, i) => el("option", { value: String(i) }, `pass ${i + 1} of ${at.passes}`)));
    this.pass.value = String(at.pass);
    this.pass.hidden = at.passes < 2;
    if (this.isAsking) return; // one is asked for at a time, and then the last that was wanted
    this.isAsking = true;
    try {
      while (this.at && this.shownKey !== this.key) await this.ask(this.at, this.key);
    } finally {
      this.isAsking = false;
    }
  }

  async ask(at, key) {
    const query = new URLSearchParams({ at: at.token, pass: at.pass, row: at.row });
    let answer;
    try {
      answer = await getJson(`${at.url}/formula/${at.rollout}?${query}`);
      if (answer.problem) throw new Error(answer.problem);
    } catch (error) {
      if (key !== this.key) return;
      this.key = null; // to be asked again when something is shown anew
      this.at = null;
      this.body.replaceChildren(el("p", { className: "faint" }, error.message));
      return;
    }
    if (key !== this.key) return;
    this.shownKey = key;
    setText(this.title, `Token ${at.token + 1} of ${at.num}  ${visible(JSON.stringify(answer.piece))}`);
    this.element.dataset.token = String(at.token);
    this.fill(answer);
  }

  fill({ own, other }) {
    const sides = other ? [own, other] : [own];
    const names = [...new Set(sides.flatMap(({ lines }) => lines.map(({ name }) => name)))];
    const order = ["Ratio", "Advantage", "Policy term", "KL", "Entropy", "Weight", "Share of the loss", "Gradient"];
    names.sort((a, b) => order.indexOf(a) - order.indexOf(b));
    const cells = [el("span")];
    sides.forEach(({ row }, index) => cells.push(el("b", { className: "side" }, row, el("span", { className: "faint" }, index ? "  with its own settings, had it been used here" : "  as the update used it"))));
    for (const name of names) {
      cells.push(el("span", { className: "term" }, name));
      for (const { lines } of sides) cells.push(cell(lines.find((line) => line.name === name)));
    }
    this.body.style.gridTemplateColumns = `max-content repeat(${sides.length}, minmax(0, 1fr))`;
    this.body.replaceChildren(...cells);
    setText(this.notes, sides.flatMap(({ notes }) => notes).join(" "));
    this.notes.hidden = !this.notes.textContent;
  }
}

function cell(line) {
  if (!line) return el("span", { className: "faint line" }, "none in this row");
  const node = el("span", { className: "line", dataset: { name: line.name, value: String(line.value) } },
    el("span", { className: "math" }, line.formula), el("b", { className: "math value" }, number(line.value).trim()));
  if (line.numbers) node.append(el("span", { className: "math" }, `= ${line.numbers}`));
  if (line.note) node.append(el("span", { className: "faint note" }, line.note));
  return node;
}
