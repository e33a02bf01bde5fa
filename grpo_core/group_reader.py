"""Finding one's way among a run's stored groups: more queries on `run.db`, all of them short."""

from __future__ import annotations

import json
import re
from typing import Any

from grpo_core.advantages import TOLERANCE
from grpo_core.reader import SHORT_PROMPT, RunReader, column_path


class GroupReader(RunReader):
    """What the Inspector asks beside the rest."""

    def occasions(self, problem_id: str, most: int) -> list[dict[str, Any]]:
        """The newest `most` groups of one problem, oldest first: `id, step, num, num_correct,
        reward_mean, length_mean`."""
        rows = self._rows(
            "SELECT g.id, g.step, count(*) AS num, sum(r.correct) AS num_correct,"
            " avg(r.reward) AS reward_mean, avg(r.num_tokens) AS length_mean"
            " FROM (SELECT id, step FROM groups WHERE problem_id = ? ORDER BY step DESC LIMIT ?) g"
            " JOIN rollouts r ON r.group_id = g.id GROUP BY g.id ORDER BY g.step, g.id",
            problem_id,
            most,
        )
        return rows

    def num_occasions(self, problem_id: str) -> int:
        """How often a problem has been drawn."""
        rows = self._rows("SELECT count(*) AS num FROM groups WHERE problem_id = ?", problem_id)
        return int(rows[0]["num"])

    def group_of(self, group_id: int) -> dict[str, Any] | None:
        """`step, problem_id` of a group, None where there is none."""
        found = self._rows("SELECT step, problem_id FROM groups WHERE id = ?", group_id)
        return found[0] if found else None

    def members(self, group_id: int) -> list[int]:
        """The ids of a group's completions, in sampling order."""
        rows = self._rows("SELECT id FROM rollouts WHERE group_id = ? ORDER BY idx", group_id)
        return [row["id"] for row in rows]

    def judged(self, group_id: int) -> dict[int, dict[str, Any]]:
        """What the judge took for the answer of each completion of a group, by id: `kind,
        extracted, rule, verdict`. Only evaluations keep it; nothing in a run."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'answers'"):
            return {}
        rows = self._rows(
            "SELECT a.rollout_id, a.kind, a.extracted, a.rule, a.verdict FROM answers a"
            " JOIN rollouts r ON r.id = a.rollout_id WHERE r.group_id = ?",
            group_id,
        )
        return {row.pop("rollout_id"): row for row in rows}

    def asked(self, step: int) -> dict[int, dict[str, Any]]:
        """Of each group of a batch of an evaluation, by id: `greedy_right`, `num_samples`,
        `num_samples_right`, `num_unanswered`, `num_undecided`."""
        rows = self._rows(
            "SELECT g.id, max(a.kind = 'greedy' AND r.correct) AS greedy_right,"
            " sum(a.kind != 'greedy') AS num_samples,"
            " sum(a.kind != 'greedy' AND r.correct) AS num_samples_right,"
            " sum(a.extracted IS NULL) AS num_unanswered, sum(a.verdict != 'ok') AS num_undecided"
            " FROM groups g JOIN rollouts r ON r.group_id = g.id"
            " JOIN answers a ON a.rollout_id = r.id WHERE g.step = ? GROUP BY g.id",
            step,
        )
        return {row.pop("id"): {**row, "greedy_right": bool(row["greedy_right"])} for row in rows}

    def greedy_shares(self) -> tuple[list[int], list[float]]:
        """Batches of an evaluation, and the share of their greedy completions that is right."""
        rows = self._rows(
            "SELECT g.step, avg(r.correct) AS share FROM groups g"
            " JOIN rollouts r ON r.group_id = g.id JOIN answers a ON a.rollout_id = r.id"
            " WHERE a.kind = 'greedy' GROUP BY g.step ORDER BY g.step"
        )
        return [row["step"] for row in rows], [row["share"] for row in rows]

    def num_groups(self) -> int:
        """How many groups are stored."""
        return int(self._rows("SELECT count(*) AS num FROM groups")[0]["num"])

    def step_rollouts(self, step: int) -> list[dict[str, Any]]:
        """All completions of a step without their texts, in sampling order: `id, group_id, finish,
        num_tokens, reward, parts, advantage, correct`."""
        rows = self._rows(
            "SELECT r.id, r.group_id, r.finish, r.num_tokens, r.reward, r.parts, r.advantage,"
            " r.correct"
            " FROM groups g JOIN rollouts r ON r.group_id = g.id WHERE g.step = ?"
            " ORDER BY g.id, r.idx",
            step,
        )
        for row in rows:
            row["parts"] = json.loads(row["parts"])
        return rows

    def blobs(self, group_id: int) -> dict[int, bytes]:
        """The packed numbers (see `traces.py`) of each completion that kept its tokens, by id."""
        rows = self._rows(
            "SELECT r.id, t.blob FROM rollouts r JOIN tokens t ON t.rollout_id = r.id"
            " WHERE r.group_id = ? ORDER BY r.idx",
            group_id,
        )
        return {row["id"]: row["blob"] for row in rows}

    def place_of(self, rollout_id: int) -> dict[str, Any] | None:
        """`step, group_id, problem_id` of a completion, None where there is none."""
        found = self._rows(
            "SELECT g.step, g.id AS group_id, g.problem_id FROM rollouts r"
            " JOIN groups g ON g.id = r.group_id WHERE r.id = ?",
            rollout_id,
        )
        return found[0] if found else None

    def find_text(
        self,
        text: str,
        before: int,
        after: int,
        steps: int,
        most: int,
        question: str | None = None,
    ) -> list[dict[str, Any]]:
        """Completions that contain `text` (any case of ASCII letters), newest step first: `id,
        group_id, step, prompt, text, correct, reward`; looks at up to `steps` steps from `before`
        down, of that one at completions with an id above `after`. `question`: see
        `group_summaries`."""
        pattern = re.sub(r"([%_\\])", r"\\\1", text)
        return self._rows(
            f"SELECT r.id, r.group_id, g.step, {SHORT_PROMPT} AS prompt, r.text,"
            " r.correct, r.reward FROM groups g"
            " JOIN rollouts r ON r.group_id = g.id"
            " WHERE g.step <= ?2 AND g.step > ?2 - ?3 AND r.text LIKE ?4 ESCAPE '\\'"
            " AND (g.step < ?2 OR r.id > ?6) ORDER BY g.step DESC, r.id LIMIT ?5",
            column_path(question),
            before,
            steps,
            f"%{pattern}%",
            most,
            after,
        )

    def next_with_signal(self, step: int, back: bool, most: int) -> dict[str, Any] | None:
        """`step, id` of the nearest group after (before) a step with an advantage that is not 0,
        among up to `most` steps."""
        order, sign = ("DESC", "<") if back else ("ASC", ">")
        # by steps, because SQLite would group the whole run before it takes the first row
        steps = self._db.execute(
            f"SELECT DISTINCT step FROM groups WHERE step {sign} ? ORDER BY step {order} LIMIT ?",
            (step, most),
        )
        for (near,) in steps:
            rows = self._rows(
                "SELECT g.step, g.id FROM groups g JOIN rollouts r ON r.group_id = g.id"
                " WHERE g.step = ? GROUP BY g.id HAVING max(abs(r.advantage)) > ?"
                " ORDER BY g.id LIMIT 1",
                near,
                TOLERANCE,
            )
            if rows:
                return rows[0]
        return None

    # --- for statistics over many groups --------------------------------------------------------

    def group_counts(self) -> list[tuple[int, int]]:
        """Each step that has groups, and how many, by step. Reads an index alone."""
        rows = self._db.execute("SELECT step, count(*) FROM groups GROUP BY step ORDER BY step")
        return [(step, num) for step, num in rows]

    def outcomes(self, step: int, most: int) -> list[tuple[Any, ...]]:
        """Completions of a step's first `most` groups in sampling order, without their texts:
        group id, problem id, reward, whether it is right, tokens, advantage."""
        rows = self._db.execute(
            "SELECT g.id, g.problem_id, r.reward, r.correct, r.num_tokens, r.advantage"
            " FROM (SELECT id, problem_id FROM groups WHERE step = ? ORDER BY id LIMIT ?) g"
            " JOIN rollouts r ON r.group_id = g.id ORDER BY g.id, r.idx",
            (step, most),
        )
        return [tuple(row) for row in rows]

    def step_blobs(self, step: int, most_bytes: int) -> list[tuple[int, bytes]]:
        """The group id and the packed numbers (see `traces.py`) of completions of a step that kept
        their tokens: whole groups up to `most_bytes` in all, but one group at least."""
        found: list[tuple[int, bytes]] = []
        total = whole = 0
        for group_id, blob in self._db.execute(
            "SELECT g.id, t.blob FROM groups g JOIN rollouts r ON r.group_id = g.id"
            " JOIN tokens t ON t.rollout_id = r.id WHERE g.step = ? ORDER BY g.id, r.id",
            (step,),
        ):
            if found and found[-1][0] != group_id:
                whole = len(found)
            total += len(blob)
            if total > most_bytes and whole:
                return found[:whole]
            found.append((group_id, blob))
        return found
