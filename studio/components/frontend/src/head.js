// The status line of a run: badge, progress, what it is doing, and the buttons that steer it.
import { DONE, LIVE, ago, duration, el, setStatus, setText } from "./shared.js";

const STALLED_S = 60, BUSY_MS = 8000;
const SOON = { pause: "pauses after this step …", continue: "goes on …", resume: "goes on from its last checkpoint …", stop: "stops after this step …" };
const ENDED = "The trainer ended without a word: killed, out of memory, or the machine went down. Resume goes on from the last checkpoint.";

export class Head {
  /** `act(kind)` is called with pause, continue, resume or stop. */
  constructor(act) {
    this.act = act;
    this.busy = null;
    this.status = el("span", { className: "badge", role: "status" });
    this.progress = el("span", { className: "progress" });
    this.fill = el("i");
    this.detail = el("span", { className: "faint detail" });
    this.toggle = el("button", { onclick: () => this.send(this.toggle) }, "Pause");
    this.stop = el("button", { className: "danger", onclick: () => this.send(this.stop) }, "Stop");
    this.alert = el("div", { className: "alert", hidden: true, role: "alert" });
    this.element = el("div", { className: "head" }, this.status, this.progress,
      el("div", { className: "bar" }, this.fill), this.detail,
      el("span", { className: "buttons" }, this.toggle, this.stop));
  }

  show(run, stepTime) {
    this.run = run;
    setStatus(this.status, run.status);
    setText(this.progress, run.num_steps ? `Step ${run.step} of ${run.num_steps}` : `Step ${run.step}`);
    this.fill.style.width = `${run.num_steps ? Math.min(100, (100 * run.step) / run.num_steps) : 0}%`;
    this.stepTime = stepTime;
    this.showButtons(run.status);
    setText(this.detail, this.busy ? SOON[this.busy.kind] : detailOf(run, stepTime));
    this.alert.dataset.tone = ["failed", "crashed"].includes(run.status) ? "bad" : "warn";
    const text = alertOf(run);
    setText(this.alert, text);
    this.alert.hidden = !text;
  }

  showButtons(status) {
    const live = LIVE.includes(status);
    setAction(this.toggle, live ? (status === "paused" ? "continue" : "pause") : "resume");
    setAction(this.stop, "stop");
    if (this.busy && (this.busy.status !== status || Date.now() > this.busy.until)) this.busy = null;
    const waiting = Boolean(this.busy);
    this.toggle.title = status === "completed" ? DONE : "";
    this.toggle.disabled = waiting || ["starting", "stopping", "completed"].includes(status);
    this.stop.disabled = waiting || !live || status === "stopping";
  }

  /** Both buttons rest until the run's status shows that the wish was heard, or some seconds. */
  send(button) {
    const kind = button.dataset.kind, patience = Math.max(BUSY_MS, 3000 * (this.stepTime ?? 0));
    this.busy = { status: this.run?.status, kind, until: Date.now() + patience };
    this.toggle.disabled = this.stop.disabled = true;
    setText(this.detail, SOON[kind]);
    this.act(button.dataset.kind);
  }
}

function detailOf(run, stepTime) {
  if (run.status === "running" && stepTime !== null) {
    const left = duration(stepTime * Math.max(0, run.num_steps - run.step));
    return `${stepTime.toFixed(stepTime < 10 ? 1 : 0)} s per step · about ${left} left`;
  }
  if (LIVE.includes(run.status)) return run.phase;
  return run.started ? `started ${ago(run.started)}` : "";
}

function alertOf(run) {
  if (run.status === "crashed") return run.message || ENDED;
  if (run.status === "failed") return run.message || "The run failed; its log says why.";
  if (run.status === "paused") return run.message;
  if (run.status === "running" && run.heartbeat_age_s > STALLED_S) {
    return `No progress for ${duration(run.heartbeat_age_s)} (${run.phase || "unknown phase"}).`;
  }
  return "";
}

function setAction(button, kind) {
  button.dataset.kind = kind;
  setText(button, kind[0].toUpperCase() + kind.slice(1));
}
