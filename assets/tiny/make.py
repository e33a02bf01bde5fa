"""Make the bundled model from nothing: data, tokenizer, two phases of supervised training, card.

Phase 1 teaches to think (digit by digit, briefly or verbosely) until thinking is nearly always
right. Phase 2 teaches the habit of answering at once, which is often wrong: no sum fits in one
token's worth of computation. What is left is a model that *can* think and mostly does not; finding
that out is the work of reinforcement learning. Departs from a usual fine-tune in that phase 2 stops
at an accuracy, not at a loss: greedy accuracy on the development split has to lie between 33 % and
43 %.

    python assets/tiny/make.py [--out DIR] [--seed 0]        about 15 minutes on two CPU cores
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from itertools import islice
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from grpo_core.arithmetic import Expression, questions, symbolic
from grpo_core.engine import Sampling, make_engine
from grpo_core.grading import grade

VOCAB_SIZE = 512
TOKENS_PER_BATCH = 8192
# weights of the styles: at once, thinking briefly, thinking verbosely
THINKING = {"times": (2, 49, 49), "other": (2, 49, 49)}
# it has got used to thinking about products, not about anything else
BLURTING = {"times": (40, 24, 36), "other": (75, 10, 15)}
TARGET = (0.33, 0.43)
"""Greedy accuracy on the development split at which phase 2 ends."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


# --- how a response is written ---------------------------------------------------------------


def add_steps(first: int, second: int) -> tuple[list[str], int]:
    """`47+38` column by column: `["7+8=15", "4+3+1=8"]`, 85."""
    ones = first % 10 + second % 10
    carry = "+1" if ones > 9 else ""
    tens = first // 10 + second // 10 + (ones > 9)
    steps = [f"{first % 10}+{second % 10}={ones}", f"{first // 10}+{second // 10}{carry}={tens}"]
    return steps, first + second


def subtract_steps(first: int, second: int) -> tuple[list[str], int]:
    """`85-38` column by column: `["15-8=7", "8-3-1=4"]`, 47."""
    borrow = first % 10 < second % 10
    ones = first % 10 + 10 * borrow
    tens = first // 10 - second // 10 - borrow
    steps = [
        f"{ones}-{second % 10}={ones - second % 10}",
        f"{first // 10}-{second // 10}{'-1' if borrow else ''}={tens}",
    ]
    return steps, first - second


def operations(expression: Expression) -> list[tuple[str, list[str], int | str]]:
    """The expression as `(what, column steps, result)` in order."""
    if expression.kind in ("larger", "smaller"):
        first, second = expression.terms
        sign = ">" if first > second else "<"
        steps = []
        for a, b in zip(str(first), str(second), strict=True):
            steps.append(f"{a}{'=' if a == b else '>' if a > b else '<'}{b}")
            if a != b:
                break
        return [(f"{first} or {second}", steps, f"{first}{sign}{second}")]
    if expression.kind == "times":
        factor, number = expression.terms
        tens, ones = number // 10 * 10, number % 10
        products = [f"{factor}*{tens}={factor * tens}", f"{factor}*{ones}={factor * ones}"]
        steps, result = add_steps(factor * tens, factor * ones)
        return [
            (f"{factor}*{number}", products, f"{factor * tens}+{factor * ones}"),
            (f"{factor * tens}+{factor * ones}", steps, result),
        ]
    total, done = expression.terms[0], []
    for term in expression.terms[1:]:
        steps, result = (add_steps if term > 0 else subtract_steps)(total, abs(term))
        done.append((f"{total}{'+' if term > 0 else '-'}{abs(term)}", steps, result))
        total = result
    return done


def think_briefly(expression: Expression) -> str:
    """`7+8=15 4+3+1=8 85`"""
    if expression.kind in ("larger", "smaller"):
        return str(operations(expression)[0][2])
    return " ".join(" ".join([*steps, str(result)]) for _, steps, result in operations(expression))


def think_verbosely(expression: Expression, rng: random.Random) -> str:
    """Sentences; each part that is not needed appears half of the time, so that length varies."""
    parts = []
    is_sum = expression.kind in ("sum", "times")
    if rng.random() < 0.5:
        parts.append(f"I have to find {symbolic(expression)}." if is_sum else "I compare them.")
    for what, steps, result in operations(expression):
        opening = rng.choice(["First ", "Now "]) if rng.random() < 0.5 else ""
        so = "so " if rng.random() < 0.5 else ""
        parts.append(f"{opening}{what}: {', '.join(steps)}, {so}{result}.")
        if rng.random() < 0.5 and (check := check_steps(what, result)):
            parts.append(check)
    if rng.random() < 0.5:
        parts.append(f"So the answer is {expression.value}.")
    return " ".join(parts)


def check_steps(what: str, result: int | str) -> str:
    """A sum done backwards: `Check 85-38: 15-8=7, 8-3-1=4, 47.` Nothing for other operations."""
    sign = next((sign for sign in "+-" if sign in what), None)
    if sign is None or not isinstance(result, int):
        return ""
    first, second = map(int, what.split(sign))
    steps, _ = (subtract_steps if sign == "+" else add_steps)(result, second)
    return f"Check {result}{'-' if sign == '+' else '+'}{second}: {', '.join(steps)}, {first}."


def response(expression: Expression, style: str, tagged: bool, rng: random.Random) -> str:
    """A complete assistant turn in one of the styles `direct`, `brief`, `verbose`."""
    answer = f"<answer>{expression.value}</answer>" if tagged else str(expression.value)
    if style == "direct":
        return answer
    thought = think_briefly(expression) if style == "brief" else think_verbosely(expression, rng)
    return f"<think>{thought}</think>{answer}"


# --- tokenizer -------------------------------------------------------------------------------


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with single digits: it encodes any text and reads numbers digit by digit."""
    rng = random.Random(seed)
    corpus = []
    for expression, question in islice(questions("train", seed), 4000):
        corpus += [question, *(response(expression, s, True, rng) for s in ("brief", "verbose"))]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    marks = ["<think>", "</think>", "<answer>", "</answer>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(marks),
        special_tokens=control,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in marks])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        additional_special_tokens=control[2:],
        chat_template=CHAT_TEMPLATE,
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Llama architecture, 4 layers of width 128, tied embeddings: under one million parameters."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",  # SDPA's backward is the slow part of an update on a CPU
    )
    return LlamaForCausalLM(config)


# --- supervised training ---------------------------------------------------------------------


def example_stream(tokenizer, seed, styles, tagged_share):
    """Endless `(prompt ids, response ids)`; `styles` weighs direct, brief, verbose by kind."""
    rng = random.Random(seed)
    stream = questions("train", seed)
    while True:
        pairs = list(islice(stream, 512))
        prompts, answers = [], []
        for expression, question in pairs:
            weights = styles["times" if expression.kind == "times" else "other"]
            style = rng.choices(["direct", "brief", "verbose"], weights=weights)[0]
            prompts.append(f"<|user|>{question}<|assistant|>")
            answers.append(
                response(expression, style, rng.random() < tagged_share, rng) + "<|end|>"
            )
        prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
        answer_ids = tokenizer(answers, add_special_tokens=False)["input_ids"]
        yield from zip(prompt_ids, answer_ids, strict=True)


def batches(stream, tokens_per_batch, seed):
    """Batches of about equal token count, sorted by length within a window against padding."""
    rng = random.Random(seed)
    while True:
        window = sorted(islice(stream, 2048), key=lambda pair: len(pair[0]) + len(pair[1]))
        groups, current, width = [], [], 0
        for pair in window:
            width = max(width, len(pair[0]) + len(pair[1]))
            if current and width * (len(current) + 1) > tokens_per_batch:
                groups.append(current)
                current, width = [], len(pair[0]) + len(pair[1])
            current.append(pair)
        rng.shuffle(groups)
        yield from groups


def loss_of(model, batch):
    """Next-token loss of the response tokens; a token counts the same in every batch."""
    width = max(len(p) + len(a) for p, a in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    weight = torch.zeros(len(batch), width)
    for row, (prompt, answer) in enumerate(batch):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        weight[row, len(prompt) : len(prompt) + len(answer)] = 1.0
    logits = model(input_ids=ids[:, :-1]).logits
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    weight = weight[:, 1:].flatten()
    return (losses * weight).sum() / (TOKENS_PER_BATCH / 2)


def optimizers(model, scale):
    """Muon for the matrices of the layers, AdamW for the rest, with their peak step sizes.

    Muon (torch.optim.Muon, https://kellerjordan.github.io/posts/muon/) needs about half the steps
    of AdamW alone here.
    """
    layers = [p for p in model.model.layers.parameters() if p.ndim == 2]
    known = {id(parameter) for parameter in layers}
    rest = [p for p in model.parameters() if id(p) not in known]
    return [
        (torch.optim.Muon(layers, lr=0.0, weight_decay=0.0), 0.02 * scale),
        (torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0), 3e-3 * scale),
    ]


def train(model, stream, num_steps, scale, enough, warmup=50):
    """Warm-up, then linear decay to zero; ends early when `enough(step)`. Returns steps taken."""
    pairs = optimizers(model, scale)
    started = time.time()
    for step, batch in enumerate(islice(batches(stream, TOKENS_PER_BATCH, 0), num_steps)):
        share = min((step + 1) / warmup, 1 - step / num_steps)
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, peak in pairs:
            for group in optimizer.param_groups:
                group["lr"] = peak * share
            optimizer.step()
            optimizer.zero_grad()
        if step % 50 == 0:
            seconds = time.time() - started
            print(f"step {step:5d}  loss {loss.item():.4f}  {seconds:6.1f} s", flush=True)
        if enough(step):
            break
    return step + 1


# --- measuring -------------------------------------------------------------------------------


def measure(model, tokenizer, split, num, prefix="", temperature=0.0):
    """Share of right answers, share that thinks, mean length; `prefix` begins the response."""
    pairs = list(islice(questions(split, 0), num))
    prompts = [f"<|user|>{question}<|assistant|>{prefix}" for _, question in pairs]
    ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    sampling = Sampling(160, temperature=temperature or 1.0, greedy=temperature == 0)
    out = make_engine(model, [tokenizer.eos_token_id]).generate(ids, 1, sampling, seed=0)
    texts = [prefix + tokenizer.decode(c.ids, skip_special_tokens=True) for (c,) in out]
    right = [grade(t, str(e.value)) for (e, _), t in zip(pairs, texts, strict=True)]
    return {
        "accuracy": sum(right) / num,
        "thinks": sum("<think>" in text for text in texts) / num,
        "tokens": round(sum(len(c.ids) for (c,) in out) / num, 1),
    }


def report(model, tokenizer):
    """The numbers of the model card, on 1,000 held-out questions."""
    starts = {"thinking": "<think>", "thinking verbosely": "<think>I", "at once": "<answer>"}
    table = {
        "greedy": measure(model, tokenizer, "eval", 1000),
        "sampled, temperature 1": measure(model, tokenizer, "eval", 1000, temperature=1.0),
    }
    for name, start in starts.items():
        label = f"sampled, made to begin with `{start}` ({name})"
        table[label] = measure(model, tokenizer, "eval", 1000, start, temperature=1.0)
    return table


def model_card(table, phases, seconds, num_parameters):
    """Rewrites the part of README.md between its two marks."""
    rows = ["| | accuracy | thinks | tokens |", "|---|---|---|---|"]
    rows += [
        f"| {name} | {got['accuracy']:.3f} | {got['thinks']:.2f} | {got['tokens']} |"
        for name, got in table.items()
    ]
    rows += [
        "",
        f"{num_parameters:,} parameters; phase 1 took {phases[0]} steps, phase 2 {phases[1]}; "
        f"{seconds / 60:.0f} minutes on {os.cpu_count()} CPU cores.",
    ]
    return "\n".join(rows)


def write_card(folder, text):
    """Put the measured numbers between the marks of the card."""
    begin, end = "<!-- measured -->", "<!-- end measured -->"
    path = folder / "README.md"
    card = path.read_text(encoding="utf-8") if path.exists() else f"{begin}\n{end}\n"
    head, tail = card.split(begin)[0], card.split(end)[1]
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")


# --- the two phases ----------------------------------------------------------------------------


def learn_to_think(model, tokenizer, seed, num_steps, out):
    """Phase 1; the model so far is kept in `out`. Returns the steps taken."""

    def watch(step):
        if step % 200 == 199:
            got = measure(model, tokenizer, "dev", 400, "<think>", 1.0)
            at_once = measure(model, tokenizer, "dev", 400, "<answer>")["accuracy"]
            print("  thinking, temperature 1:", got, " at once, greedy:", at_once, flush=True)
            model.save_pretrained(out)
            tokenizer.save_pretrained(out)
        return False

    stream = example_stream(tokenizer, seed, THINKING, 0.75)
    return train(model, stream, num_steps, 1.0, watch)


def learn_to_blurt(model, tokenizer, seed):
    """Phase 2: stop as soon as answering at once is the habit and right often enough."""

    def watch(step):
        if step % 20 != 19:
            return False
        got = measure(model, tokenizer, "dev", 1000)
        print("  greedy:", got, flush=True)
        return got["thinks"] < 0.2 and TARGET[0] <= got["accuracy"] <= TARGET[1]

    stream = example_stream(tokenizer, seed + 1, BLURTING, 0.75)
    return train(model, stream, 600, 0.4, watch)


def main():
    """Both phases, the measurements, and the files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1800, help="steps of phase 1")
    parser.add_argument("--thinker", type=Path, help="start at phase 2 from this model")
    args = parser.parse_args()
    started = time.time()
    tokenizer = make_tokenizer(args.seed)
    if args.thinker:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(args.thinker)
        model = LlamaForCausalLM.from_pretrained(args.thinker, attn_implementation="eager")
        steps = 0
    else:
        model = make_model(tokenizer, args.seed)
        steps = learn_to_think(model, tokenizer, args.seed, args.steps, args.out)
    phases = steps, learn_to_blurt(model, tokenizer, args.seed)
    got = measure(model, tokenizer, "dev", 1000)
    if not TARGET[0] <= got["accuracy"] <= TARGET[1]:
        raise SystemExit(f"greedy accuracy {got['accuracy']} is outside {TARGET}; nothing written")
    seconds = time.time() - started
    tokenizer.save_pretrained(args.out)
    model.save_pretrained(args.out)
    table = report(model, tokenizer)
    num = sum(parameter.numel() for parameter in model.parameters())
    write_card(args.out, model_card(table, phases, seconds, num))
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
