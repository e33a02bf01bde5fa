// What the Inspector calls things and what it lets one look for: in a run, and in an evaluation, whose
// steps are batches of problems and where nothing is learnt.
const SOLVED = { key: "solved", label: "solved", about: "The task's grader calls them right", group: (g) => g.num_correct > 0, one: (r) => r.correct };
const FAILED = { key: "failed", label: "failed", about: "The task's grader calls them wrong", group: (g) => g.num_correct < g.num, one: (r) => !r.correct };
const CUT_OFF = { key: "truncated", label: "cut off", about: "They reached the longest length", group: (g) => g.num_truncated > 0, one: (r) => r.finish === "length" };

/** `one(rollout)` and `group(summary)` say what a filter leaves; without `one` all of the group. */
const FILTERS = {
  run: [
    { key: "all", label: "all", about: "All completions" }, SOLVED, FAILED, CUT_OFF,
    { key: "clipped", label: "clipped", about: "Tokens beyond the clip in the last pass of the update", group: (g) => g.num_clipped > 0, one: (r) => r.num_clipped > 0 },
    { key: "error", label: "faults", about: "The reward failed on them", group: (g) => g.num_faults > 0, one: (r) => !["ok", "abstain"].includes(r.outcome) },
    { key: "flat", label: "no signal", about: "Every advantage of the group is 0", group: (g) => g.flat },
  ],
  evaluation: [
    { key: "all", label: "all", about: "All completions" }, { ...SOLVED, about: "The judge calls them right" }, { ...FAILED, about: "The judge calls them wrong" },
    { key: "greedy_wrong", label: "greedy wrong", about: "Problems whose greedy completion is wrong", group: (g) => !g.greedy_right },
    { key: "divided", label: "divided", about: "Problems with right and wrong completions", group: (g) => g.num_correct > 0 && g.num_correct < g.num },
    { ...CUT_OFF },
    { key: "unanswered", label: "no answer", about: "No answer was found in them", group: (g) => g.num_unanswered > 0, one: (r) => r.judged.extracted === null },
    { key: "undecided", label: "not judged", about: "No verdict came in time; they count as wrong", group: (g) => g.num_undecided > 0, one: (r) => r.judged.verdict !== "ok" },
  ],
};

const WORDS = {
  run: {
    step: "step", steps: "steps", prompt: "prompt", best: "best", order: "Completions, best to worst", measure: "Mean reward", ribbon: "mean reward about",
    early: "This run has not finished its first step. Come back in a moment.", gone: "This is gone: the run was deleted, or a resume has taken the step back.",
  },
  evaluation: {
    step: "batch", steps: "batches", prompt: "problem", best: "greedy", order: "Completions, the greedy one first, then right before wrong",
    measure: "Share of right greedy answers", ribbon: "greedy answers right:", early: "Nothing is answered yet.", gone: "This is gone: the evaluation was deleted.",
  },
};

/** The words for a kind, `Step` and `Prompt` as a label has them. */
export function wordsOf(kind) {
  const words = WORDS[kind];
  return { ...words, Step: upper(words.step), Prompt: upper(words.prompt) };
}

function upper(word) {
  return word[0].toUpperCase() + word.slice(1);
}

export function filtersOf(kind) {
  return FILTERS[kind];
}

/** The next one's name, round and round. */
export function filterAfter(kind, key) {
  const filters = FILTERS[kind];
  return filters[(filters.findIndex((filter) => filter.key === key) + 1) % filters.length].key;
}

/** A filter by its name; one that leaves everything where there is none of that name. */
export function filterOf(kind, key) {
  return { one: null, group: null, ...FILTERS[kind].find((filter) => filter.key === key) };
}
