"""Problems to groups: render and tokenise once, sample, decode once. The only place between text
and token ids; training and evaluation share it.
"""

from __future__ import annotations

from collections.abc import Sequence

from grpo_core.config import DataConfig
from grpo_core.engine import Completion, Engine, Sampling
from grpo_core.policy import Policy, encode_prompts, render_prompt
from grpo_core.records import Group, Problem, Rollout

_AT_ONCE = 512


def check_prompts(
    policy: Policy, data: DataConfig, problems: Sequence[Problem], max_new_tokens: int
) -> None:
    """ValueError naming the first problem whose prompt leaves no room for its completion."""
    room = policy.context - max_new_tokens
    shots = "lower data.shots, " if data.shots else ""
    for start in range(0, len(problems), _AT_ONCE):  # all prompts together would fill memory
        part = problems[start : start + _AT_ONCE]
        lengths = map(len, encode_prompts(policy.tokenizer, _render(policy, data, part)))
        for problem, length in zip(part, lengths, strict=True):
            if length == 0:
                raise ValueError(
                    f"data: the prompt of {problem.id} is empty; set data.prompt_template"
                )
            if length > room:
                raise ValueError(
                    f"data: the prompt of {problem.id} has {length} tokens; with "
                    f"rollout.max_new_tokens={max_new_tokens} the model's context of "
                    f"{policy.context} leaves room for {max(room, 0)}; {shots}shorten the prompt "
                    "or lower max_new_tokens"
                )


def _render(policy: Policy, data: DataConfig, problems: Sequence[Problem]) -> list[str]:
    return [render_prompt(policy.tokenizer, data, p.question, p.examples) for p in problems]


def sample(
    engine: Engine,
    policy: Policy,
    data: DataConfig,
    problems: Sequence[Problem],
    num: int,
    sampling: Sampling,
    seed: int,
) -> list[Group]:
    """`num` completions for each problem, as groups."""
    prompts = _render(policy, data, problems)
    prompt_ids = encode_prompts(policy.tokenizer, prompts)
    sampled = engine.generate(prompt_ids, num, sampling, seed)
    flat = [completion for completions in sampled for completion in completions]
    texts = iter(_decode(policy, flat))
    return [
        Group(
            problem,
            prompt,
            ids,
            [Rollout(c.ids, c.logp, next(texts), c.finish) for c in completions],
        )
        for problem, prompt, ids, completions in zip(
            problems, prompts, prompt_ids, sampled, strict=True
        )
    ]


def _decode(policy: Policy, completions: list[Completion]) -> list[str]:
    """The texts as a reader sees them: without the end token, with everything else."""
    bodies = [c.ids[:-1] if c.finish == "stop" else c.ids for c in completions]
    return policy.tokenizer.batch_decode(bodies, skip_special_tokens=True)
