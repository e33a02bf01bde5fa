// Keyboard shortcuts: never while somebody types, and never with a modifier.
const EDITABLE = "input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]:not([contenteditable=false])";

/** Calls `actions[key]()`, whose `false` leaves the key to others; returns a function that stops
 * listening. R and C belong to Streamlit. */
export function listenToKeys(actions) {
  const listener = (event) => {
    // with AltGr many keyboards write [ and ]
    const isModified = (event.ctrlKey || event.altKey) && !event.getModifierState("AltGraph");
    if (isModified || event.metaKey || event.defaultPrevented) return;
    // The path sees into shadow roots, where the target is only their host.
    if (event.composedPath().some((node) => node instanceof Element && node.matches(EDITABLE))) return;
    const act = actions[event.key];
    if (!act || act() === false) return;
    event.preventDefault();
  };
  document.addEventListener("keydown", listener);
  return () => document.removeEventListener("keydown", listener);
}
