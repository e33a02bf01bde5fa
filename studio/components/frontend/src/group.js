// A prompt and its completions, best to worst: what each was worth, why, and its text. The tokens of
// completions that kept them can be coloured. Everything a model wrote is a text node.
import { BASE_CSS, el, format, getJson, mountOnce } from "./shared.js";

const CSS = `
.prompt { font-family: var(--st-code-font); font-size: 13px; background: var(--soft); padding: 10px 14px;
  border-radius: var(--st-base-radius); white-space: pre-wrap; overflow-wrap: anywhere; max-height: 220px; overflow: auto; }
.stats { display: flex; gap: 28px; align-items: center; flex-wrap: wrap; padding: 12px 2px; min-height: 64px; }
.stats .label { font-size: 12.5px; }
.stats .value { font-weight: 600; overflow-wrap: anywhere; }
.stats .tools { margin-left: auto; display: flex; align-items: center; gap: 6px; font-size: 12.5px; }
.stats .tools button { padding: 2px 10px; font-size: 12.5px; }
.stats .tools button[aria-pressed=true] { border-color: var(--st-primary-color); color: var(--st-primary-color);
  background: var(--st-blue-background-color); }
.flat { margin: 0 0 10px; }
.list { border: 1px solid var(--line); border-radius: var(--st-base-radius); overflow: hidden; }
.row { display: grid; grid-template-columns: 5px 34px 214px minmax(0, 1fr); border-top: 1px solid var(--line); }
.row:first-child { border-top: 0; }
.rail { background: var(--rail, transparent); }
.rank { padding: 10px 0 0 10px; font-size: 12.5px; }
.worth { padding: 9px 12px 10px 4px; border-right: 1px solid var(--line); font-size: 13px; min-width: 0; }
.worth .top { display: flex; align-items: center; gap: 8px; min-height: 24px; }
.worth .reward { font-weight: 600; font-size: 15px; min-width: 3.2em; }
.worth .small { font-size: 12px; overflow-wrap: anywhere; }
.chip { border-radius: 5px; padding: 1px 7px; font-size: 12.5px; font-weight: 600; white-space: nowrap;
  color: var(--st-gray-text-color); background: var(--st-gray-background-color); }
.chip[data-tone=good] { color: var(--st-green-text-color); background: var(--st-green-background-color); }
.chip[data-tone=bad] { color: var(--st-red-text-color); background: var(--st-red-background-color); }
.chip[data-tone=warn] { color: var(--st-orange-text-color); background: var(--st-orange-background-color); }
.said { padding: 10px 14px; min-width: 0; }
.text { font-family: var(--st-code-font); font-size: 13px; line-height: 1.6; white-space: pre-wrap;
  overflow-wrap: anywhere; max-height: 340px; overflow: auto; }
.text .thought { color: var(--faint); }
.text .token { border-radius: 3px; }
.text .token:hover { outline: 1px solid var(--st-text-color); }
.fault { margin-top: 8px; font-family: var(--st-code-font); font-size: 12px; white-space: pre-wrap; overflow-wrap: anywhere;
  color: var(--st-red-text-color); }
.printed { margin-top: 8px; padding-left: 10px; border-left: 3px solid var(--line); font-family: var(--st-code-font);
  font-size: 12px; white-space: pre-wrap; overflow-wrap: anywhere; color: var(--faint); max-height: 160px; overflow: auto; }
.tip { position: fixed; pointer-events: none; z-index: 10; display: none; white-space: pre; font-family: var(--st-code-font);
  font-size: 12px; line-height: 1.5; padding: 7px 10px; border-radius: 6px; border: 1px solid var(--line);
  background: var(--panel); color: var(--st-text-color); box-shadow: 0 4px 16px rgb(0 0 0 / 18%); }
@media (max-width: 900px) { .row { grid-template-columns: 5px 28px 150px minmax(0, 1fr); } }
`;
// What a token can be coloured by: its value from the stored numbers, and the value of full colour.
const CHANNELS = [
  { name: "log-prob", value: (t, i) => t.logp[i], strength: (v) => -v / 5 },
  { name: "entropy", value: (t, i) => t.entropy[i], strength: (v) => v / 2 },
  { name: "KL", value: (t, i) => (t.ref.length ? t.old[i] - t.ref[i] : null), strength: (v) => v / 1.5 },
  { name: "ratio", value: (t, i) => Math.exp(t.logp[i] - t.old[i]), strength: (v) => (v - 1) / 0.2 },
];
const OUTCOMES = {
  abstain: "abstained", error: "reward error", timeout: "reward timeout", crash: "reward crashed",
  nonfinite: "not finite", badtype: "wrong type",
};
const instances = new WeakMap();

export default function (component) {
  return mountOnce(instances, component, make, (group) => group.update());
}

function make(component) {
  const root = el("div", { className: "root" });
  const tip = el("div", { className: "tip", role: "tooltip" });
  const body = el("div");
  root.append(el("style", { textContent: BASE_CSS + CSS }), body, tip);
  component.parentElement.append(root);
  const group = { component, channel: null, rows: [], destroy() {} };
  group.update = () => {
    const { data } = group.component;
    if (group.shown === data.id) return;
    group.shown = data.id;
    group.rows = data.rollouts.map((rollout) => makeRow(rollout, tip));
    const chooser = channelButtons(group, data);
    body.replaceChildren(...head(data, chooser), el("div", { className: "list", role: "list" }, ...group.rows.map((row) => row.element)));
    root.dataset.id = String(data.id);
    if (group.channel) color(group);
  };
  return group;
}

function head(data, chooser) {
  const stats = data.stats.map(({ label, value }) => el("div", {},
    el("div", { className: "faint label" }, label), el("div", { className: "value" }, value)));
  const nodes = [el("div", { className: "prompt" }, data.prompt), el("div", { className: "stats" }, ...stats, chooser)];
  if (data.flat) {
    nodes.push(el("div", { className: "alert flat", dataset: { tone: "warn" } },
      "No signal: all rewards of this group are equal, every advantage is 0, and it moves nothing."));
  }
  return nodes;
}

function channelButtons(group, data) {
  if (!data.rollouts.some((rollout) => rollout.traced)) return el("span");
  const buttons = CHANNELS.map((channel) => el("button", {
    "aria-pressed": String(group.channel === channel),
    onclick: () => {
      group.channel = group.channel === channel ? null : channel;
      buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(group.channel === CHANNELS[index])));
      color(group);
    },
  }, channel.name));
  return el("div", { className: "tools" }, el("span", { className: "faint" }, "Colour tokens by"), ...buttons);
}

/** Colours every completion that kept its tokens; their numbers are fetched once, when first asked for. */
function color(group) {
  const { url } = group.component.data;
  for (const row of group.rows) {
    if (!row.rollout.traced) continue;
    row.tokens ??= getJson(`${url}/tokens/${row.rollout.id}`).catch(() => null);
    row.tokens.then((tokens) => { if (tokens) paint(row, tokens, group.channel); });
  }
}

function paint(row, tokens, channel) {
  if (!channel) {
    row.text.replaceChildren(...withThought(row.rollout.text));
    return;
  }
  row.text.replaceChildren(...tokens.pieces.map((piece, index) => {
    const value = channel.value(tokens, index);
    const span = el("span", { className: "token", dataset: { index } }, piece);
    if (value !== null) span.style.background = shade(channel.strength(value));
    return span;
  }));
  row.text.onmousemove = (event) => showTip(row.tip, event, tokens);
  row.text.onmouseleave = () => { row.tip.style.display = "none"; };
}

/** Orange for positive, blue for negative: told apart by every kind of colour vision. */
function shade(strength) {
  const part = Math.round(62 * Math.max(-1, Math.min(1, strength)));
  const name = part >= 0 ? "--st-orange-color" : "--st-blue-color";
  return `color-mix(in srgb, var(${name}) ${Math.abs(part)}%, transparent)`;
}

function showTip(tip, event, tokens) {
  const index = event.target.dataset?.index;
  if (index === undefined) { tip.style.display = "none"; return; }
  const i = Number(index);
  const lines = CHANNELS.map((channel) => `${channel.name.padEnd(10)}${number(channel.value(tokens, i))}`);
  lines.push(`${"advantage".padEnd(10)}${number(tokens.advantage[i])}`);
  tip.textContent = `${i}  ${JSON.stringify(tokens.pieces[i])}\n${lines.join("\n")}`;
  tip.style.display = "block";
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 190)}px`;
  tip.style.top = `${Math.min(event.clientY + 16, innerHeight - 130)}px`;
}

function number(value) {
  return value === null || value === undefined ? "—" : value.toFixed(3).padStart(8);
}

function makeRow(rollout, tip) {
  const text = el("div", { className: "text" }, ...withThought(rollout.text));
  const said = el("div", { className: "said" }, text);
  if (rollout.error) said.append(el("div", { className: "fault" }, rollout.error));
  if (rollout.printed) said.append(el("div", { className: "printed" }, rollout.printed));
  const element = el("div", { className: "row", role: "listitem" },
    el("div", { className: "rail" }), el("div", { className: "rank faint" }, String(rollout.rank)), worth(rollout), said);
  element.style.setProperty("--rail", railOf(rollout.advantage));
  return { rollout, element, text, tip, tokens: null };
}

function worth(rollout) {
  const { advantage } = rollout;
  const tone = !advantage ? "plain" : advantage > 0 ? "good" : "bad";
  const sign = advantage > 0 ? "+" : advantage < 0 ? "−" : "";
  const shown = advantage === null ? "left out" : `A ${sign}${Math.abs(advantage).toFixed(2)}`;
  const chips = [el("span", { className: "chip", dataset: { tone }, title: "Advantage" }, shown)];
  if (OUTCOMES[rollout.outcome]) chips.push(el("span", { className: "chip", dataset: { tone: "warn" } }, OUTCOMES[rollout.outcome]));
  const parts = Object.entries(rollout.parts).map(([name, value]) => `${name} ${format(value)}`);
  const facts = [rollout.correct ? "right" : "wrong", `${rollout.num_tokens} tokens`];
  if (rollout.finish === "length") facts.push("cut off");
  return el("div", { className: "worth" },
    el("div", { className: "top" },
      el("span", { className: "reward", title: "Reward" }, rollout.reward === null ? "—" : rollout.reward.toFixed(2)), ...chips),
    el("div", { className: "small" }, facts.join(" · ")),
    el("div", { className: "small faint" }, parts.join(" · ")));
}

function railOf(advantage) {
  if (!advantage) return "transparent";
  const part = Math.round(30 + 70 * Math.min(1, Math.abs(advantage) / 2));
  const name = advantage > 0 ? "--st-green-color" : "--st-red-color";
  return `color-mix(in srgb, var(${name}) ${part}%, transparent)`;
}

/** The think block stands back so that the answer stands out. */
function withThought(text) {
  const end = text.indexOf("</think>");
  if (!text.startsWith("<think>") || end < 0) return [document.createTextNode(text || " ")];
  const cut = end + "</think>".length;
  return [el("span", { className: "thought" }, text.slice(0, cut)), document.createTextNode(text.slice(cut))];
}
