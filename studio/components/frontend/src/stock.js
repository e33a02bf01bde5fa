// What the Inspector has at hand of a run: the groups of a step, one group with its completions, and the
// numbers of its tokens. What was asked about another run counts no more when
// its answer comes.
import { readStrips } from "./channels.js";
import { wordsOf } from "./kinds.js";
import { getJson } from "./shared.js";

export class Stock {
  /** `say(text)` is told what went wrong. */
  constructor(say) {
    this.say = say;
    this.clear("");
  }

  /** Another run: what was asked about the one before counts no more. */
  clear(url) {
    this.life = {};
    this.url = url;
    this.bounds = this.group = this.strips = this.summary = null;
    this.step = { groups: [] };
    this.traces = new Map();
  }

  async get(path) {
    const { life } = this;
    try {
      const answer = await getJson(`${this.url}/${path}`, wordsOf(this.kind).gone);
      if (!answer.problem) return answer;
      if (life === this.life) this.say(answer.problem);
      return null;
    } catch (error) {
      if (life === this.life) this.say(error.message);
      return null;
    }
  }

  /** The step with its groups; null where another run was chosen meanwhile. */
  async loadStep(step) {
    const { life } = this;
    const answer = await this.get(`step/${step}`);
    if (life !== this.life || !answer) return null;
    return answer;
  }

  /** One group, with all its tokens at a glance. */
  async loadGroup(summary, step = this.step) {
    const { life } = this;
    const [group, strips] = await Promise.all([this.get(`group/${summary.id}`), this.loadStrips(summary)]);
    if (life !== this.life || !group) return null;
    // all of it at once: what is shown never mixes one step with another
    this.step = step;
    this.summary = summary;
    this.group = group;
    this.strips = strips;
    this.traces = new Map();
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
    const { traces } = this;
    if (rollout.traced && !traces.has(rollout.id)) {
      const trace = await this.get(`tokens/${rollout.id}`);
      if (trace) traces.set(rollout.id, trace);
    }
    return traces.get(rollout.id) ?? null;
  }

  /** `run` or `evaluation`; a run until it is known. */
  get kind() {
    return this.bounds?.kind ?? "run";
  }

  get groups() {
    return this.step.groups;
  }

  /** Tokens beyond the clip are known of groups that kept their tokens. */
  async countClipped(groups = this.groups) {
    for (const group of groups) {
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
