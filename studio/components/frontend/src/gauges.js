// How busy the machine is on which the studio runs.
import { duration, el, getJson, poll, setText } from "./shared.js";

const POLL_MS = 5000, GB = 1e9;

export class Gauges {
  constructor() {
    this.row = el("span", { className: "readings" });
    this.element = el("div", { className: "gauges faint", hidden: true, "aria-label": "This machine" },
      el("span", { className: "whose", title: "The machine on which this studio runs, whoever uses it" }, "This machine"), this.row);
    this.items = new Map();
    this.poller = poll(() => this.ask(), () => POLL_MS, () => { this.element.hidden = true; });
  }

  async ask() {
    const { cpu, cores, memory, disk, gpus } = await getJson("/api/system");
    this.element.hidden = false;
    this.show("CPU", `${Math.round(100 * cpu)} %`, cpu, `of ${cores} cores`);
    this.show("Memory", sizes(memory), memory[0] / memory[1]);
    if (disk) this.show("Disk", `${size(disk[0])} free`, 1 - disk[0] / disk[1], "of the folder of runs");
    gpus.forEach((gpu, index) => {
      const said = [gpu.busy !== null && `${Math.round(100 * gpu.busy)} %`, gpu.memory && sizes(gpu.memory),
        gpu.celsius !== null && `${Math.round(gpu.celsius)} °C`, gpu.watts !== null && `${Math.round(gpu.watts)} W`];
      this.show(gpus.length > 1 ? `GPU ${index}` : "GPU", said.filter(Boolean).join(" · "), gpu.busy ?? 0, gpu.name);
    });
  }

  show(label, text, share, title = "") {
    if (!this.items.has(label)) {
      const value = el("b", { className: "num" }), fill = el("i");
      const node = el("span", { className: "gauge" }, el("span", {}, label), el("span", { className: "meter" }, fill), value);
      this.items.set(label, { value, fill, node });
      this.row.append(node);
    }
    const { value, fill, node } = this.items.get(label);
    setText(value, text);
    fill.style.width = `${Math.round(100 * Math.min(1, Math.max(0, share)))}%`;
    node.title = title;
  }

  stop() { this.poller.stop(); }
}

function size(bytes) {
  const gb = bytes / GB;
  return `${gb >= 100 ? Math.round(gb) : gb.toFixed(1)} GB`;
}

function sizes([used, of]) {
  return `${size(used).replace(" GB", "")} of ${size(of)}`;
}

/** When the page last heard of the run, in words. */
export function ageText(received, isHidden) {
  if (isHidden) return "paused: this tab is hidden";
  const seconds = Math.round((Date.now() - received) / 1000);
  return seconds < 4 ? "updated just now" : `updated ${duration(seconds)} ago`;
}
