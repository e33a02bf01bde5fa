// The open completion: its text as tokens, coloured by a channel, with thought folded, matches marked, or
// compared with another. Everything a model wrote is a text node.
import { CHANNELS, shade } from "./channels.js";
import { diff } from "./diff.js";
import { el, visible } from "./shared.js";

const CHUNK = 256; // tokens that are spans while they are in view, and one text node else
const KEPT = 1024; // of the first so many, spans at once: most completions are shorter
const SHOWN = ["key", "trace", "pass", "channel", "most", "fold", "find", "against"]; // what the text depends on
const OPEN = "<think>", CLOSE = "</think>";

/** Where the thought stands in a text: `[start, end]`, null without one. */
export function thoughtOf(text) {
  const start = text.indexOf(OPEN);
  if (start < 0 || text.slice(0, start).trim()) return null;
  const end = text.indexOf(CLOSE, start);
  return [start, end < 0 ? text.length : end + CLOSE.length];
}

export class Completion {
  /** `act`: `choose(token)`, `tip(event, token | null)`, `unfold()`. */
  constructor(act) {
    this.act = act;
    this.element = el("div", { className: "text", tabIndex: 0, role: "document", "aria-label": "Completion" });
    this.element.addEventListener("mousemove", (event) => this.act.tip(event, tokenAt(event)));
    this.element.addEventListener("mouseleave", (event) => this.act.tip(event, null));
    this.element.addEventListener("click", (event) => {
      const token = tokenAt(event);
      if (token !== null && !String(getSelection() ?? "")) this.act.choose(token);
    });
    this.observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) this.fill(target, isIntersecting);
    }, { rootMargin: "600px" });
  }

  destroy() {
    this.observer.disconnect();
  }

  /** `view`: {text, trace, pass, channel, most, token, fold, find, against}. */
  show(view) {
    const before = this.view;
    this.view = view;
    if (before && view.trace && view.against === null && SHOWN.every((name) => before[name] === view[name])) {
      if (before.token !== view.token) this.choose(view.token);
      return;
    }
    this.observer.disconnect();
    if (view.against !== null) this.element.replaceChildren(...compared(view.against, view.text));
    else if (view.trace) this.tokens();
    else this.plain();
    if (view.key !== this.key) this.element.scrollTop = 0;
    this.key = view.key;
    this.element.dataset.shown = view.against !== null ? "diff" : view.trace ? "tokens" : "text";
  }

  /** A completion whose tokens were not kept. */
  plain() {
    const { text, fold, find } = this.view;
    const thought = thoughtOf(text);
    const nodes = [];
    if (thought && fold) nodes.push(this.folded(text.slice(thought[0], thought[1])));
    else if (thought) nodes.push(el("span", { className: "thought" }, ...marked(text.slice(0, thought[1]), find)));
    nodes.push(...marked(thought ? text.slice(thought[1]) : text, find));
    this.element.replaceChildren(...nodes);
  }

  folded(text) {
    const num = text.split(/\s+/).filter(Boolean).length;
    return el("button", { className: "folded", onclick: () => this.act.unfold(), title: "Show what it thought (f)" },
      `thought · ${num} words`);
  }

  tokens() {
    const { trace, fold, find } = this.view;
    const joined = trace.pieces.join("");
    const starts = [];
    let at = 0;
    for (const piece of trace.pieces) {
      starts.push(at);
      at += piece.length;
    }
    this.found = matches(joined, find);
    const thought = thoughtOf(joined);
    this.thoughtEnd = thought ? thought[1] : 0;
    this.starts = starts;
    const nodes = [];
    let first = 0;
    if (thought && fold) {
      // a token that ends the thought may begin the answer too: it is shown
      first = starts.findIndex((start, i) => start + trace.pieces[i].length > thought[1]);
      if (first < 0) first = starts.length;
      nodes.push(this.folded(joined.slice(thought[0], thought[1])));
    }
    for (let low = first; low < starts.length; low += CHUNK) {
      const chunk = el("span", { className: "chunk" });
      chunk.low = low;
      chunk.high = Math.min(starts.length, low + CHUNK);
      this.fill(chunk, low < KEPT);
      if (starts.length > KEPT) this.observer.observe(chunk);
      nodes.push(chunk);
    }
    this.element.replaceChildren(...nodes);
  }

  /** Spans for the tokens of a chunk, or one text that takes the same place. */
  fill(chunk, inView) {
    if (chunk.isFilled === inView) return;
    chunk.isFilled = inView;
    const { low, high } = chunk;
    if (!inView) {
      chunk.replaceChildren(this.view.trace.pieces.slice(low, high).map(visible).join(""));
      return;
    }
    const nodes = [];
    for (let i = low; i < high; i += 1) nodes.push(this.token(i));
    chunk.replaceChildren(...nodes);
  }

  token(i) {
    const { trace, pass, channel, most, token } = this.view;
    const piece = trace.pieces[i];
    const span = el("span", {}, visible(piece));
    span.token = i;
    const names = [];
    if (this.starts[i] < this.thoughtEnd) names.push("thought");
    if (pass.clipped[i]) names.push("clipped");
    if (i === token) names.push("chosen");
    const end = this.starts[i] + piece.length;
    if (this.found.some(([from, to]) => from < end && to > this.starts[i])) names.push("found");
    if (names.length) span.className = names.join(" ");
    const value = channel ? channel.value(pass, trace, i) : null;
    if (value !== null && value !== undefined) span.style.background = shade(channel.strength(value, most));
    return span;
  }

  /** Only what changed, so that walking from token to token costs nothing. */
  choose(token) {
    this.view.token = token;
    for (const span of this.element.querySelectorAll(".chosen")) span.classList.remove("chosen");
    const span = this.spanOf(token);
    if (!span) return;
    span.classList.add("chosen");
    const box = span.getBoundingClientRect(), own = this.element.getBoundingClientRect();
    if (box.top < own.top || box.bottom > own.bottom) {
      this.element.scrollTop += box.top - own.top - this.element.clientHeight / 2;
    }
  }

  spanOf(token) {
    if (token === null) return null;
    for (const chunk of this.element.querySelectorAll(".chunk")) {
      if (token < chunk.low || token >= chunk.high) continue;
      this.fill(chunk, true);
      return chunk.childNodes[token - chunk.low];
    }
    return null;
  }
}

function tokenAt(event) {
  return event.target?.token ?? null;
}

/** Where `find` stands in a text, any case; `[from, to]` each. */
export function matches(text, find) {
  if (!find) return [];
  const found = [], low = text.toLowerCase(), wanted = find.toLowerCase();
  for (let at = low.indexOf(wanted); at >= 0 && found.length < 500; at = low.indexOf(wanted, at + wanted.length)) {
    found.push([at, at + wanted.length]);
  }
  return found;
}

/** Text nodes, with the matches as marks. */
export function marked(text, find) {
  const nodes = [];
  let at = 0;
  for (const [from, to] of matches(text, find)) {
    nodes.push(visible(text.slice(at, from)), el("mark", {}, visible(text.slice(from, to))));
    at = to;
  }
  nodes.push(visible(text.slice(at)));
  return nodes;
}

function compared(from, to) {
  const parts = diff(from, to);
  if (!parts) return [el("p", { className: "faint" }, "These two are too long to compare word by word.")];
  return parts.map(({ kind, text }) => (kind === "same" ? document.createTextNode(visible(text)) : el("span", { className: kind }, visible(text))));
}

/** The numbers of a token, as they stand beside the pointer. */
export function tipText(trace, pass, i) {
  const rows = CHANNELS.map(({ label, long, value }) => `${(long ?? label).padEnd(15)}${number(value(pass, trace, i))}`);
  rows.push(`${"log-prob, old".padEnd(15)}${number(pass.old[i])}`, `${"log-prob, ref".padEnd(15)}${number(trace.ref[i])}`);
  if (pass.clipped[i]) rows.push(pass.clipped[i] > 0 ? "above the clip" : "below the clip");
  return `token ${i + 1} of ${trace.pieces.length}   id ${trace.ids[i]}   ${visible(JSON.stringify(trace.pieces[i]))}\n${rows.join("\n")}`;
}

/** Four significant digits in a column. */
export function number(value) {
  if (value === null || value === undefined) return "—".padStart(10);
  const size = Math.abs(value);
  const text = size && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  return text.replaceAll("-", "−").padStart(10);
}
