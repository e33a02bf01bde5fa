// What a person chose for the charts, remembered by this browser alone.

const KEY = "grpo-studio-live";
const DEFAULTS = { smoothing: 0, axis: "step", logX: false, logY: false, outliers: false, events: true, bands: false, pinned: [], open: [] };
export const AXIS_NAMES = ["step", "time", "clock", "tokens"];
export const MOST = 0.99;

export function loadSettings() {
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch { /* private window, or not ours */ }
  const settings = { ...DEFAULTS, pinned: [], open: [] };
  for (const [name, value] of Object.entries(DEFAULTS)) if (typeof kept[name] === typeof value) settings[name] = kept[name];
  for (const name of ["pinned", "open"]) settings[name] = Array.isArray(settings[name]) ? settings[name].filter((one) => typeof one === "string") : [];
  if (!AXIS_NAMES.includes(settings.axis)) settings.axis = "step";
  settings.smoothing = Math.min(MOST, Math.max(0, settings.smoothing)) || 0;
  return settings;
}

export function keepSettings(settings) {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch { /* private window: not kept */ }
}
