"""Shared fixtures: a random model of a few thousand parameters, and where larger data lie."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests and what they start mark rewards with a key of their own and leave the user's alone.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="grpo-studio-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CONFIG_HOME"], ignore_errors=True)

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with GSM8K and CMATH; skips where it is absent."""
    folder = Path(os.environ.get("GRPO_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "gsm8k" / "test.jsonl").is_file():
        pytest.skip(f"no data in {folder}; set GRPO_DATA to a folder with gsm8k/test.jsonl")
    return folder


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with the bundled tokenizer: fast, and it knows nothing."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from grpo_core.assets import assets_dir

    folder = tmp_path_factory.mktemp("random-model")
    tokenizer = AutoTokenizer.from_pretrained(assets_dir() / "tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# --- a recorded run, for the pages ----------------------------------------------------------------


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded run, made once; tests work on copies."""
    from browser.recorded import record_run

    folder = tmp_path_factory.mktemp("recorded")
    record_run(folder, "bundled-1", until=24, short_from=12)
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    from studio import data

    before = data.runs_dir()
    data.set_runs_dir(tmp_path)
    yield tmp_path
    data.set_runs_dir(before)


@pytest.fixture
def recorded(empty: Path, template: Path) -> Any:
    """A run that is being trained, as far as its files say."""
    from browser.recorded import write_status

    from grpo_core.runs import Run

    shutil.copytree(template / "bundled-1", empty / "bundled-1")
    run = Run(empty / "bundled-1")
    write_status(run, "running", 24, 120)
    return run
