"""TRL's side of the speed benchmark: its own `GRPOTrainer`, unchanged but for the lengths."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed_side import Clock, Job, Lengths, Sample, peak_bytes

TUNED: dict[str, dict[str, Any]] = {
    # Seconds a step on two cores with AVX512-BF16 but no AMX, ragged (fixed takes as long); without
    # checkpointing. bf16 eager by micro-batch 32 / 64 / 128: 1.35, 1.30, 1.22; fp32 SDPA, 16 / 32 /
    # 64 / 128: 1.61, 1.49, 1.41, 1.54; fp32 eager, 32: 1.55; bf16 SDPA, 32: 1.54; defaults: 1.91.
    "bundled": {
        "per_device_train_batch_size": 128,
        "bf16": True,
        "model_init_kwargs": {"attn_implementation": "eager"},
    },
    # 4 x 8 completions. bf16 eager, 16: 19.4; bf16 SDPA, 8 / 16 / 32: 21.4, 21.2, 22.9; fp32 SDPA
    # takes about twice as long as bf16. TRL's defaults: 20.9.
    "smollm2": {
        "per_device_train_batch_size": 16,
        "model_init_kwargs": {"attn_implementation": "eager"},
    },
}
TUNED_GPU = {"per_device_train_batch_size": 32}
"""Not searched for: `--baselines` with settings as JSON does."""

Wait = Callable[[], Lengths | None]


def settings(baseline: str, model: str) -> dict[str, Any]:
    """What a baseline sets over TRL's defaults and the geometry of the step.

    `trl_bf16_load` is `trl_tuned` with weights, and so its optimizer, in bf16.
    """
    if baseline.startswith("{"):
        return json.loads(baseline)
    if baseline == "trl_default":
        return {}
    tuned = {"gradient_checkpointing": False, **TUNED.get(model, TUNED_GPU)}
    if baseline == "trl_tuned":
        return tuned
    if baseline != "trl_bf16_load":
        raise ValueError(f"{baseline}: no such baseline")
    start = {**tuned.get("model_init_kwargs", {}), "dtype": "bfloat16"}
    return {**tuned, "bf16": True, "model_init_kwargs": start}


def run(job: Job, wait: Wait, answer: Callable[[Sample], None]) -> None:
    """Train for as long as steps are wanted."""
    if job.trl_path:
        sys.path.insert(0, job.trl_path)
    if importlib.util.find_spec("trl") is None:
        raise RuntimeError("there is no TRL; install it or name its folder with --trl-path")
    from transformers import PrinterCallback

    trainer, note = make_trainer(job)
    trainer.remove_callback(PrinterCallback)
    clock = Clock()
    _time_parts(trainer, clock)
    trainer.add_callback(_pacer(clock, note, wait, answer))
    trainer.train()


class Note:
    """What a step shall be made of, and what it was made of as the trainer saw it."""

    wanted: Lengths = ()
    lengths: Lengths = ()
    prompts: list[list[int]]


def make_trainer(job: Job) -> tuple[Any, Note]:
    """A trainer of the recipe's step whose completions get the wanted lengths."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOTrainer

    from grpo_core.policy import model_folder
    from grpo_core.recipe import parse_config

    config = parse_config(job.recipe)
    folder = model_folder(config.model.path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    note = Note()
    trainer = GRPOTrainer(
        model=folder,  # its weights are loaded as fp32
        reward_funcs=_reward(Path(job.recipe["rewards"][0]["path"]), note),
        args=_arguments(job, config),
        train_dataset=Dataset.from_list(_prompts(job, config, tokenizer.chat_template is not None)),
        processing_class=tokenizer,
    )
    _force(trainer, config.rollout.group_size, note)
    return trainer, note


def _arguments(job: Job, config: Any) -> Any:
    """TRL's defaults except what says which step it is, and nothing is logged or saved. Gradients
    accumulate over the whole rollout: old log-probs are then not computed a second time."""
    import torch
    from trl import GRPOConfig

    num = config.rollout.prompts_per_step * config.rollout.group_size
    settings = {"per_device_train_batch_size": min(num, 8), **job.settings}
    return GRPOConfig(
        output_dir=job.folder,
        max_steps=job.num_steps,
        gradient_accumulation_steps=num // settings["per_device_train_batch_size"],
        num_generations=config.rollout.group_size,
        max_completion_length=config.rollout.max_new_tokens,
        temperature=config.rollout.temperature,
        learning_rate=config.optim.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=config.optim.max_grad_norm,
        loss_type="grpo",
        beta=0.0,
        num_iterations=1,
        shuffle_dataset=False,
        seed=config.seed,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        **settings,
    )


def _prompts(job: Job, config: Any, is_chat: bool) -> list[dict[str, Any]]:
    """The prompts of all steps, in the order in which our product draws them."""
    from grpo_core.tasks import load_task

    task = load_task(config.data, config.evaluation.num_problems)
    num = config.rollout.prompts_per_step
    steps = range(1, job.num_steps + 1)
    questions = [one.question for step in steps for one in task.draw(step, num, config.seed)]
    if not is_chat:
        return [{"prompt": question} for question in questions]
    return [{"prompt": [{"role": "user", "content": question}]} for question in questions]


def _reward(path: Path, note: Note) -> Callable:
    """The reward of the recipe; notes on the way how long the completions are."""
    scope: dict[str, Any] = {}
    exec(path.read_text(encoding="utf-8"), scope)

    def reward(completions: list, completion_ids: list[list[int]], **_: Any) -> list[float]:
        note.lengths = tuple(map(len, completion_ids))
        return scope["reward"](completions)

    return reward


# --- lengths --------------------------------------------------------------------------------------


def _force(trainer: Any, group: int, note: Note) -> None:
    """Every `generate` of the trainer's model samples the wanted lengths."""
    generate = trainer.model.generate
    ends = trainer.eos_token_ids

    def forced(input_ids: Any, attention_mask: Any, **more: Any) -> Any:
        rows = zip(input_ids[::group], attention_mask[::group].bool(), strict=True)
        note.prompts = [ids[mask].tolist() for ids, mask in rows]
        processor = _Forced(note.wanted, ends, input_ids)
        return generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            logits_processor=[processor],
            **more,
        )

    trainer.model.generate = forced


class _Forced:
    """Forbids end tokens before a row's last position and everything else at it: writes a few
    columns of the scores, so its cost is small beside sampling."""

    def __init__(self, lengths: Lengths, ends: list[int], input_ids: Any) -> None:
        import torch

        device = input_ids.device
        self.prompt = input_ids.shape[1]
        self.last_B = torch.tensor(lengths, device=device) - 1
        self.ends = torch.tensor(ends, device=device)
        self.end = ends[0]

    def __call__(self, input_ids: Any, scores_BV: Any) -> Any:
        is_last_B = self.last_B == input_ids.shape[1] - self.prompt
        scores_BV[:, self.ends] = float("-inf")
        # so far above any logit that the others keep no probability
        scores_BV[:, self.end].masked_fill_(is_last_B, 1e9)
        return scores_BV


# --- timing ---------------------------------------------------------------------------------------


def _time_parts(trainer: Any, clock: Clock) -> None:
    """`training_step` is the update, with the rollout and the rest inside it."""
    clock.wrap(trainer, "training_step", "update")
    clock.wrap(trainer, "_prepare_inputs", "rest")
    clock.wrap(trainer, "_generate", "rollout")
    clock.wrap(trainer, "_calculate_rewards", "reward")
    clock.wrap(trainer.accelerator, "clip_grad_norm_", "optimizer")
    score = trainer._get_per_token_logps_and_entropies

    def timed(*args: Any, **kwargs: Any) -> Any:
        import torch

        if torch.is_grad_enabled():  # the forward of the update
            return score(*args, **kwargs)
        with clock.part("logprob"):
            return score(*args, **kwargs)

    trainer._get_per_token_logps_and_entropies = timed


def _pacer(clock: Clock, note: Note, wait: Wait, answer: Callable[[Sample], None]) -> Any:
    from transformers import TrainerCallback

    class Pacer(TrainerCallback):
        """A step begins when it is wanted and is over when its optimizer step is."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._next(control)

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.enter("optimizer")

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.leave()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            seconds = clock.stop()
            parts = dict(clock.seconds)
            answer(Sample(seconds, parts, note.lengths, note.prompts, peak_bytes()))
            self._next(control)

        def _next(self, control: Any) -> None:
            lengths = wait()
            control.should_training_stop = lengths is None
            note.wanted = lengths or ()
            clock.restart()

    return Pacer()
