// One card that opens over the page beside a button: menus, explanations, help. Escape closes it,
// and so does a click anywhere else.
import { el } from "./shared.js";

const GAP = 4, EDGE = 8;

export class Pop {
  constructor() {
    this.element = el("div", { className: "pop", role: "dialog", tabIndex: -1 });
    this.element.popover = "auto";
    this.element.addEventListener("toggle", (event) => { if (event.newState === "closed") this.closed(); });
    this.anchor = null;
  }

  get isOpen() { return this.element.matches(":popover-open"); }

  /** Shows `content` under (or over) `anchor`; the same anchor again closes it. */
  show(anchor, label, ...content) {
    const again = this.isOpen && this.anchor === anchor;
    this.close();
    if (again) return;
    this.anchor = anchor;
    this.element.setAttribute("aria-label", label);
    this.element.replaceChildren(...content);
    anchor.setAttribute("aria-expanded", "true");
    // In full screen only what lies inside of the card is seen.
    const full = anchor.closest(":fullscreen");
    (full ?? this.home).append(this.element);
    this.element.showPopover();
    this.place(anchor.getBoundingClientRect());
    (this.element.querySelector("button, a, input") ?? this.element).focus({ preventScroll: true });
  }

  place(box) {
    const { offsetWidth: width, offsetHeight: height } = this.element;
    const below = box.bottom + GAP + height < innerHeight || box.top < height;
    const top = below ? box.bottom + GAP : box.top - GAP - height;
    this.element.style.left = `${Math.max(EDGE, Math.min(box.left, innerWidth - width - EDGE))}px`;
    this.element.style.top = `${Math.max(EDGE, Math.min(top, innerHeight - height - EDGE))}px`;
  }

  /** What is shown has grown: it stays beside its anchor and within the window. */
  fit() {
    if (this.isOpen && this.anchor?.isConnected) this.place(this.anchor.getBoundingClientRect());
  }

  close() {
    if (this.isOpen) this.element.hidePopover();
  }

  closed() {
    this.anchor?.setAttribute("aria-expanded", "false");
    if (this.element.contains(this.element.getRootNode().activeElement)) this.anchor?.focus({ preventScroll: true });
  }
}
