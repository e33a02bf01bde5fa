// What the Inspector has at hand of a run: the groups of a step, one group with its completions, and the
// numbers of its tokens. Only the newest question counts: an answer that comes late is dropped.
import { readStrips } from "./channels.js";
import { getJson } from "./shared.js";

const GONE = "This is gone: the run was deleted, or a resume has taken the step back.";

export class Stock {
  /** `say(text)` is told what went wrong. */
  constructor(say) {
    this.say = say;
    this.turn = 0;
    this.clear("");
  }

  clear(url) {
    this.url = url;
    this.bounds = this.group = this.strips = null;
    this.groups = [];
    this.traces = new Map();
  }

  async get(path) {
    try {
      const answer = await getJson(`${this.url}/${path}`, GONE);
      if (!answer.problem) return answer;
      this.say(answer.problem);
      return null;
    } catch (error) {
      this.say(error.message);
      return null;
    }
  }

  /** The step's groups; null where something else was asked for meanwhile. */
  async loadStep(step) {
    const turn = ++this.turn;
    const answer = await this.get(`step/${step}`);
    if (turn !== this.turn || !answer) return null;
    this.groups = answer.groups;
    return answer.groups;
  }

  /** One group, with all its tokens at a glance. */
  async loadGroup(summary) {
    const turn = ++this.turn;
    const [group, strips] = await Promise.all([this.get(`group/${summary.id}`), this.loadStrips(summary)]);
    if (turn !== this.turn || !group) return null;
    this.group = group;
    this.strips = strips;
    this.traces.clear();
    for (const one of group.rollouts) one.num_clipped = strips?.get(one.id)?.clipped ?? 0;
    return group;
  }

  async loadStrips(summary) {
    if (!summary.num_traced) return null;
    try {
      const response = await fetch(`${this.url}/strips/${summary.id}`, { credentials: "same-origin" });
      return response.ok ? readStrips(await response.arrayBuffer()) : null;
    } catch {
      return null; // the studio does not answer: the group, asked beside it, says so
    }
  }

  /** The tokens of a completion, null where they were not kept. */
  async loadTrace(rollout) {
    if (rollout.traced && !this.traces.has(rollout.id)) {
      const trace = await this.get(`tokens/${rollout.id}`);
      if (trace) this.traces.set(rollout.id, trace);
    }
    return this.traces.get(rollout.id) ?? null;
  }

  /** Tokens beyond the clip are known of groups that kept their tokens. */
  async countClipped() {
    for (const group of this.groups) {
      if (group.num_clipped !== undefined) continue;
      const strips = await this.loadStrips(group);
      group.num_clipped = strips ? [...strips.values()].reduce((sum, { clipped }) => sum + clipped, 0) : 0;
    }
  }
}

/** The last pass of the update that looked at this completion. */
export function newestPass(trace) {
  for (let pass = trace.passes.length - 1; pass > 0; pass -= 1) if (trace.passes[pass].logp.some((value) => value !== null)) return pass;
  return 0;
}
