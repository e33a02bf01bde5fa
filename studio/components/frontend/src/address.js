// Where one is, as an address has it: only what is not the default, counted from 1.

export const FRESH = { step: null, prompt: null, completion: 1, color: "logp", token: null, pass: null, row: "", only: "all", find: "" };

export function addressOf({ step, prompt, completion, color, token, pass, row, only, find, fold, diff }) {
  const view = { step, prompt, completion };
  if (color !== FRESH.color) view.color = color || "none";
  if (token !== null) Object.assign(view, { at: token + 1 }, pass === null ? {} : { pass: pass + 1 }, row ? { row } : {});
  if (only !== FRESH.only) view.only = only;
  if (find) view.find = find;
  if (fold) view.fold = 1;
  if (diff) view.diff = 1;
  return view;
}

/** What an address names, over the defaults. */
export function stateOf(view) {
  const { at, ...rest } = view;
  return {
    ...FRESH, ...rest, color: view.color === "none" ? "" : view.color ?? FRESH.color,
    fold: Boolean(view.fold), diff: Boolean(view.diff), token: at ? at - 1 : null, pass: view.pass ? view.pass - 1 : null,
  };
}

/** Lets the address name a view, in the place of the one before: going back leads to the page that
 * one came from, not through every completion. */
export function writeAddress(run, view) {
  const query = `?${new URLSearchParams({ run, ...view })}`;
  if (location.search !== query) history.replaceState(history.state, "", `${location.pathname}${query}`);
}

/** Copies a link to a view of a run; says whether the browser allowed it. */
export async function copyLink(run, view) {
  const query = new URLSearchParams({ run, ...view });
  try {
    await navigator.clipboard.writeText(`${location.origin}${location.pathname}?${query}`);
    return true;
  } catch {
    return false;
  }
}
