"""Scoring groups: reward functions run in the sandbox, their numbers become one reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grpo_core.records import Event, Group, Rollout
from grpo_core.rewards import RewardFunction, batch_forms, files_of
from grpo_core.sandbox import Call, Function, Pool
from grpo_core.sandbox_process import Verdict

MAX_EXAMPLE = 500
"""Characters of a completion that an event shows."""
MAX_REWARD = 1e18
"""Rewards beyond this are as good as infinite: their squares overflow the update's arithmetic."""
CALL_FAULTS = ("error", "timeout", "crash")
"""Outcomes of a call as a whole; the others concern one completion."""
TOO_LARGE = Verdict(
    "nonfinite", message=f"the reward is beyond ±{MAX_REWARD:g}, which overflows; scale it down"
)
Key = tuple[int, int, int]
"""Function, group, completion."""


class Scorer:
    """Runs a set of functions in the sandbox; belongs to the thread that made it."""

    def __init__(
        self,
        functions: Sequence[RewardFunction],
        timeout_s: float,
        num_workers: int = 1,
        die_with_parent: bool = True,
    ) -> None:
        self.functions = list(functions)
        files = files_of(functions)
        self._shown = [files[f.filename, f.source] for f in functions]
        self._batch = [_is_batch(f) for f in functions]
        runnable = [
            Function(f.source, shown, f.function, batch, f.completion_format == "messages")
            for f, shown, batch in zip(functions, self._shown, self._batch, strict=True)
        ]
        self._pool = Pool(runnable, timeout_s, num_workers, die_with_parent)

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        self._pool.close()

    def score(self, groups: list[Group], step: int) -> list[Event]:
        """Fill `outcome, parts, reward, error, printed` of each completion.

        The reward is the weighted sum of the parts that are numbers; it is None where all
        functions abstain and where any of them fails, so that a fault never counts as a 0.
        Returns one `reward_fault` event for each function and place that failed.
        """
        verdicts = self._ask(groups, step)
        faults: dict[tuple[Any, ...], dict[str, Any]] = {}
        for g, group in enumerate(groups):
            for i, rollout in enumerate(group.rollouts):
                said = [verdicts[f, g, i] for f in range(len(self.functions))]
                for name, shown, verdict in self._fill(rollout, said):
                    kind = verdict.message.partition(":")[0]
                    key = (name, verdict.outcome, verdict.line, kind)
                    detail = faults.setdefault(key, _detail(name, shown, verdict, group, rollout))
                    detail["count"] += 1
        return [Event("reward_fault", detail) for detail in faults.values()]

    def _ask(self, groups: list[Group], step: int) -> dict[Key, Verdict]:
        payloads = [_payload(group, step) for group in groups]
        calls = []
        for g, group in enumerate(groups):
            everyone = tuple(range(len(group.rollouts)))
            for f, batch in enumerate(self._batch):
                parts = [everyone] if batch and everyone else [(i,) for i in everyone]
                calls += [Call(f, g, items) for items in parts]
        verdicts = self._run(payloads, calls)
        given_up = {key[0] for key, verdict in verdicts.items() if not verdict.tried}
        failed = [
            call
            for call in calls
            if len(call.items) > 1
            and call.function not in given_up
            and verdicts[_keys(call)[0]].outcome in CALL_FAULTS
        ]
        return verdicts | self._find_culprits(payloads, failed)

    def _find_culprits(
        self, payloads: list[dict[str, Any]], failed: list[Call]
    ) -> dict[Key, Verdict]:
        """Repeat a failed batch call for each completion alone, only to see which fails.

        The others are then scored together again, as a function may compare them. Where no
        completion fails alone, the fault stays with all of them.
        """
        singles = [call._replace(items=(item,)) for call in failed for item in call.items]
        alone = self._run(payloads, singles)
        culprits = {
            key: verdict for key, verdict in alone.items() if verdict.outcome in CALL_FAULTS
        }
        again = []
        for call in failed:
            others = tuple(key[2] for key in _keys(call) if key not in culprits)
            if 0 < len(others) < len(call.items):
                again.append(call._replace(items=others))
        return culprits | self._run(payloads, again)

    def _run(self, payloads: list[dict[str, Any]], calls: list[Call]) -> dict[Key, Verdict]:
        answers = self._pool.run(payloads, calls) if calls else []
        return {
            key: verdict
            for call, answer in zip(calls, answers, strict=True)
            for key, verdict in zip(_keys(call), answer, strict=True)
        }

    def _fill(self, rollout: Rollout, said: list[Verdict]) -> list[tuple[str, str, Verdict]]:
        """Fill one completion; returns what failed: name, file and verdict."""
        said = [TOO_LARGE if abs(v.value or 0.0) > MAX_REWARD else v for v in said]
        named = list(zip(self.functions, self._shown, said, strict=True))
        rollout.parts = {function.name: verdict.value for function, _, verdict in named}
        rollout.printed = "\n".join(v.printed.rstrip() for v in said if v.printed)
        terms = [f.weight * v.value for f, _, v in named if v.value is not None]
        faults = [(f.name, s, v) for f, s, v in named if v.outcome not in ("ok", "abstain")]
        if not faults and not abs(sum(terms)) <= MAX_REWARD:
            faults = [("sum", "", TOO_LARGE)]
        rollout.error = "\n".join(
            _sentence(name, shown, verdict) for name, shown, verdict in faults
        )
        rollout.error_line = faults[0][2].line if faults else None
        rollout.reward_s = sum(verdict.seconds for verdict in said)
        rollout.reward = sum(terms) if terms and not faults else None
        rollout.outcome = faults[0][2].outcome if faults else "ok" if terms else "abstain"
        return faults


def _is_batch(function: RewardFunction) -> bool:
    try:
        return batch_forms(function.source).get(function.function, True)  # see `brought_in`
    except ValueError:
        return False  # it does not parse; loading it will say so for each completion


def _payload(group: Group, step: int) -> dict[str, Any]:
    return {
        "prompt": group.prompt,
        "question": group.problem.question,
        "answer": group.problem.answer,
        "step": step,
        "columns": group.problem.row,
        "completions": [rollout.text for rollout in group.rollouts],
        "completion_ids": [rollout.ids for rollout in group.rollouts],
    }


def _keys(call: Call) -> list[Key]:
    return [(call.function, call.group, item) for item in call.items]


def _sentence(name: str, shown: str, verdict: Verdict) -> str:
    place = f" ({shown}, line {verdict.line})" if verdict.line else ""
    return f"{name}: {verdict.message}{place}"


def _detail(
    name: str, shown: str, verdict: Verdict, group: Group, rollout: Rollout
) -> dict[str, Any]:
    return {
        "function": name,
        "outcome": verdict.outcome,
        "message": verdict.message,
        "file": shown,
        "line": verdict.line,
        "count": 0,
        "problem": group.problem.id,
        "completion": rollout.text[:MAX_EXAMPLE],
        "traceback": verdict.trace,
    }
