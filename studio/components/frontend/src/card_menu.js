// What one can do with a chart: read what it is, pin it, see it large, take its numbers or its picture.
import { css } from "./colors.js";
import { AXES } from "./places.js";
import { el, format } from "./shared.js";

export function menuOf(chart, board, pop) {
  const act = (label, work, hint = "") => el("button", {
    role: "menuitem", onclick: () => { pop.close(); work(); },
  }, label, el("span", { className: "faint" }, hint));
  return el("div", { className: "menu-items", role: "menu" },
    act("Explain", () => board.explain(chart, chart.title)),
    act(board.isPinned(chart) ? "Unpin" : "Pin to the top", () => board.pin(chart), "p"),
    act(chart.element.matches(":fullscreen") ? "Leave full screen" : "Full screen", () => fullScreen(chart), "f"),
    act("CSV, all stored numbers", () => saveCsv(chart, board)),
    act("PNG, this picture", () => savePng(chart, board)));
}

/** Large, or back again. */
export function fullScreen(chart) {
  if (chart.element.matches(":fullscreen")) document.exitFullscreen();
  else chart.element.requestFullscreen?.().catch(() => { /* the browser does not let us */ });
}

export function legendOf(chart) {
  return el("div", { className: "all-items" }, ...chart.items.map(({ line, dot }) => {
    const twin = dot.cloneNode(), value = format(chart.valueOf(line, chart.plot.cursor.idx), chart.spec.format);
    return el("div", {}, twin, el("span", {}, line.full ?? line.label), el("b", { className: "num" }, value));
  }));
}

/** What the metrics of a chart are and what people ask about them, as `nodes`; `own` by metric: where
 * stands what the run's own settings make of it, see `tellHere`. */
export function explanationOf(chart, explanations) {
  const own = new Map();
  const { spec } = chart, parts = [el("h4", {}, spec.title)];
  if (spec.help && spec.series.length > 1) parts.push(el("p", {}, spec.help));
  const told = new Set();
  for (const { name, label } of spec.series) {
    const { about, questions } = explain(name, explanations);
    if (told.has(about)) continue;
    told.add(about);
    parts.push(el("p", {}, spec.series.length > 1 ? el("b", {}, `${label}: `) : "", about));
    own.set(name, el("p", { className: "own", hidden: true }));
    parts.push(own.get(name));
    for (const [question, answer] of questions) parts.push(el("p", { className: "question" }, question), el("p", {}, answer));
  }
  parts.push(el("p", { className: "faint names" }, [...new Set(spec.series.map(({ name }) => name))].join(" · ")));
  return { nodes: parts, own };
}

export function tellHere(node, text) {
  if (!text) return;
  node.replaceChildren(el("b", {}, "In this run: "), text[0].toLowerCase() + text.slice(1));
  node.hidden = false;
}

function explain(name, explanations) {
  const part = /^reward\/.+\/mean$/.test(name) ? explanations["reward/*/mean"] : null;
  return explanations[name] ?? part ?? { about: "A number that this run wrote down; the studio knows nothing more about it.", questions: [] };
}

function saveCsv(chart, board) {
  const query = new URLSearchParams([...board.runNames().map((name) => ["run", name]), ...chart.names.map((name) => ["name", name])]);
  download(`/api/csv?${query}`, "");
}

/** The chart as one sees it, with its title, legend and axes, on the page's background. */
function savePng(chart, board) {
  const ratio = devicePixelRatio, source = chart.plot.ctx.canvas, pad = 16 * ratio;
  const head = 30 * ratio, row = 20 * ratio, foot = 24 * ratio;
  const canvas = document.createElement("canvas"), ctx = canvas.getContext("2d");
  const font = css(chart.host, "--st-font") || "sans-serif";
  const rows = layLegend(ctx, chart, `${12 * ratio}px ${font}`, source.width, ratio);
  canvas.width = source.width + 2 * pad;
  canvas.height = source.height + head + rows.length * row + foot + 2 * pad;
  ctx.fillStyle = css(chart.host, "--st-background-color");
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.textBaseline = "middle";
  const text = css(chart.host, "--st-text-color");
  ctx.font = `600 ${15 * ratio}px ${font}`;
  ctx.fillStyle = text;
  ctx.fillText(`${chart.spec.title} · ${board.runNames().join(", ")}`, pad, pad + head / 2 - 3 * ratio, source.width);
  ctx.font = `${12 * ratio}px ${font}`;
  rows.forEach((items, index) => items.forEach(({ x, label, color }) => {
    const y = pad + head + (index + 0.5) * row;
    ctx.fillStyle = color;
    ctx.fillRect(pad + x, y - 4 * ratio, 8 * ratio, 8 * ratio);
    ctx.fillStyle = text;
    ctx.fillText(label, pad + x + 13 * ratio, y);
  }));
  const top = pad + head + rows.length * row;
  ctx.drawImage(source, pad, top);
  ctx.fillStyle = css(chart.host, "--st-gray-text-color");
  ctx.textAlign = "center";
  ctx.fillText(AXES[board.settings.axis].title, canvas.width / 2, top + source.height + foot / 2);
  canvas.toBlob((blob) => {
    const url = URL.createObjectURL(blob);
    download(url, `${board.runNames()[0]}_${chart.spec.title.replace(/[^\w]+/g, "-")}.png`);
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }, "image/png");
}

function layLegend(ctx, chart, font, width, ratio) {
  const rows = [[]];
  let x = 0;
  ctx.font = font;
  for (const line of chart.lines) {
    const { label } = line, size = ctx.measureText(label).width + 32 * ratio;
    if (x > 0 && x + size > width) { rows.push([]); x = 0; }
    rows[rows.length - 1].push({ x, label, color: chart.color(line) });
    x += size;
  }
  return rows;
}

function download(url, name) {
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}
