// What all components share: look, numbers, polling, small DOM helpers.
// Text from runs, models and users only ever reaches the page through textContent.

export const BASE_CSS = `
:host, .root { font-family: var(--st-font); color: var(--st-text-color); }
.root {
  --faint: color-mix(in srgb, var(--st-text-color) 62%, var(--st-background-color));
  --line: var(--st-border-color);
  --panel: var(--st-background-color);
  --soft: var(--st-secondary-background-color);
  --hover: color-mix(in srgb, var(--st-text-color) 5%, transparent);
  font-size: 14px; line-height: 1.45; font-variant-numeric: tabular-nums;
}
.root *, .root *::before { box-sizing: border-box; }
.faint { color: var(--faint); }
.num { text-align: right; white-space: nowrap; }
button {
  font: inherit; color: inherit; cursor: pointer; border-radius: var(--st-button-radius);
  border: 1px solid var(--line); background: var(--panel); padding: 4px 12px; line-height: 1.4;
  white-space: nowrap; transition: border-color .12s, color .12s, background .12s;
}
button:hover:not(:disabled) { border-color: var(--st-primary-color); color: var(--st-primary-color); }
button:focus-visible, a:focus-visible, input:focus-visible {
  outline: 2px solid var(--st-primary-color); outline-offset: 1px;
}
button:disabled { opacity: .45; cursor: default; }
button.danger:hover:not(:disabled) { border-color: var(--st-red-color); color: var(--st-red-text-color); }
.badge {
  display: inline-flex; align-items: center; gap: 6px; padding: 1px 9px 1px 8px; border-radius: 999px;
  font-size: 12.5px; font-weight: 600; white-space: nowrap;
  color: var(--st-gray-text-color); background: var(--st-gray-background-color);
}
.badge::before { content: ""; width: 7px; height: 7px; border-radius: 50%; background: currentColor; }
.badge[data-tone=live] { color: var(--st-blue-text-color); background: var(--st-blue-background-color); }
.badge[data-tone=live]::before { animation: pulse 1.6s ease-in-out infinite; }
.badge[data-tone=good] { color: var(--st-green-text-color); background: var(--st-green-background-color); }
.badge[data-tone=warn] { color: var(--st-orange-text-color); background: var(--st-orange-background-color); }
.badge[data-tone=bad] { color: var(--st-red-text-color); background: var(--st-red-background-color); }
@keyframes pulse { 50% { opacity: .25; } }
@media (prefers-reduced-motion: reduce) { .badge::before { animation: none !important; } }
.bar { height: 6px; border-radius: 3px; background: var(--st-border-color); overflow: hidden; }
.bar > i { display: block; height: 100%; border-radius: 3px; background: var(--st-primary-color);
  transition: width .4s ease-out; }
.alert { border: 1px solid var(--st-red-color); background: var(--st-red-background-color);
  color: var(--st-red-text-color); border-radius: var(--st-base-radius); padding: 8px 12px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.alert[data-tone=warn] { border-color: var(--st-orange-color); color: var(--st-orange-text-color);
  background: var(--st-orange-background-color); }
`;

export const DONE = "All steps of this run are done. New run starts another one.";
export const LIVE = ["starting", "running", "paused", "stopping"];
const TONES = {
  starting: "live", running: "live", paused: "warn", stopping: "warn",
  stopped: "plain", completed: "good", failed: "bad", crashed: "bad",
};

/** An element with properties and children; strings become text nodes. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "dataset") Object.assign(node.dataset, value);
    else if (name.startsWith("aria-") || name === "role" || name === "for") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

/** Set only what differs: nothing flickers, selections and hover survive. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setStatus(node, status) {
  setText(node, status);
  node.dataset.tone = TONES[status] ?? "plain";
}

/** A number as a person reads it; the same rules as charts.number on the Python side. */
export function format(value, form = "number") {
  if (value === null || value === undefined || !Number.isFinite(value)) return "—";
  if (form === "percent") return `${(100 * value).toFixed(1)} %`;
  if (form === "count") return Math.abs(value) < 100 ? value.toFixed(1) : grouped(value);
  if (form === "rate") return grouped(value);
  const size = Math.abs(value);
  if (size >= 1000) return grouped(value);
  if (size >= 10) return value.toFixed(1);
  return size >= 0.01 || value === 0 ? value.toFixed(3) : String(Number(value.toPrecision(2)));
}

function grouped(value) {
  return Math.round(value).toLocaleString("en-US");
}

/** A duration in words: 42 s, 3 min 20 s, 2 h 05 min. */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
}

export function ago(time, now = Date.now() / 1000) {
  const s = Math.max(0, now - time);
  if (s < 90) return `${Math.round(s)} s ago`;
  if (s < 5400) return `${Math.round(s / 60)} min ago`;
  if (s < 129600) return `${Math.round(s / 3600)} h ago`;
  return `${Math.round(s / 86400)} days ago`;
}

/**
 * Calls `ask()` (a promise) again and again: at once, then every `interval()` ms, not while the tab
 * is hidden, at once when it comes back. `failed(error, again_ms)` is told of every failure.
 */
export function poll(ask, interval, failed) {
  let timer = 0, stopped = false, busy = false, failures = 0;
  async function turn() {
    if (stopped || busy || document.hidden) return;
    busy = true;
    let wait;
    try {
      await ask();
      failures = 0;
      wait = interval();
    } catch (error) {
      wait = Math.min(10000, 1000 * 2 ** failures++);
      if (!stopped) failed(error);
    }
    busy = false;
    clearTimeout(timer);
    if (!stopped) timer = setTimeout(turn, wait);
  }
  document.addEventListener("visibilitychange", turn);
  turn();
  return {
    now() { clearTimeout(timer); turn(); },
    stop() {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", turn);
    },
  };
}

/** GET as JSON; the error says in one sentence what a person can do. */
export async function getJson(url, gone = "This run is gone: it was deleted or moved.") {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new Error("The studio does not answer. Training goes on; this page reconnects by itself.");
  }
  if (response.status === 401) {
    throw new Error("The studio was restarted. Open the new link from its terminal.");
  }
  if (response.status === 404) throw new Error(gone);
  if (!response.ok) throw new Error(`The studio answered ${response.status}; trying again.`);
  return response.json();
}

/** One instance per mounted component: `make` once, `update` on every data or theme change. */
export function mountOnce(instances, component, make, update) {
  const { parentElement } = component;
  let instance = instances.get(parentElement);
  if (!instance) {
    instance = make(component);
    instances.set(parentElement, instance);
  }
  instance.component = component;
  update(instance);
  return () => {
    instance.destroy();
    instances.delete(parentElement);
  };
}

const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** Text with what cannot be seen made visible: a control or bidi character could hide or turn round
 * what stands beside it. */
export function visible(text) {
  return text.replace(UNSEEN, (one) => {
    const code = one.codePointAt(0);
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `⟨${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}
