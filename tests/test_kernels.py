"""The Triton kernels against plain torch, on a GPU where there is one.

Without one they run in Triton's interpreter, in a process of its own: Triton decides at its first
import whether it interprets. What only a compiler can refuse is compiled, for GPUs that need not
be there. Memory that is not written, and caches beyond their valid length, are NaN.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from grpo_core.engine import kernels, reference

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ROOT = Path(__file__).parent.parent
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
BOUND = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
DTYPES = list(BOUND)
on_device = pytest.mark.skipif(
    not (INTERPRETED or kernels.available()), reason="no GPU; the interpreter runs it, see below"
)
needs_triton = pytest.mark.skipif(
    INTERPRETED or importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


def repair_interpreter():
    """What the interpreter of Triton 3.6 does wrong, and no compiled kernel does.

    numpy 2.4 refuses the conversion by which it reads the bounds of a loop; it cuts off bits when
    it rounds to bf16, and it multiplies the bit patterns of bf16 matrices as integers.
    """
    import triton.language as tl
    from triton.runtime import interpreter

    patch, convert = interpreter._patch_lang_tensor, interpreter._convert_float
    dot = interpreter.InterpreterBuilder.create_dot

    def patch_tensor(tensor, scope):
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    def convert_float(data, source, target, rounding):
        if target != tl.bfloat16:
            return convert(data, source, target, rounding)
        wide = torch.from_numpy(np.ascontiguousarray(data, np.float32))
        return wide.bfloat16().view(torch.uint16).numpy()

    def widen(handle):
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        wide = (handle.data.astype(np.uint32) << 16).view(np.float32)
        return interpreter.TensorHandle(wide, tl.float32)

    interpreter._patch_lang_tensor = patch_tensor
    interpreter._convert_float = convert_float
    interpreter.InterpreterBuilder.create_dot = lambda self, a, b, *more: dot(
        self, widen(a), widen(b), *more
    )


if INTERPRETED:
    repair_interpreter()


@pytest.fixture(autouse=True)
def poisoned():
    """`torch.empty` and its like give NaN, and integers the largest number."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def normal(*shape, dtype=torch.float32):
    return torch.randn(shape).to(DEVICE, dtype)


def whole(numbers, dtype=torch.int64):
    return torch.as_tensor(numbers, dtype=dtype).to(DEVICE)


def rows_of(count):
    """Seeds and positions of `count` rows."""
    generator = torch.Generator().manual_seed(7)
    seed = torch.randint(-(2**63), 2**63 - 1, (count,), generator=generator)
    return whole(seed), whole(torch.randint(0, 2**31, (count,), generator=generator))


def close(ours, theirs, bound=None):
    bound = bound or BOUND[ours.dtype]
    error = (ours.double() - theirs.double()).abs().max()
    assert ours.shape == theirs.shape and error <= bound * max(1, theirs.abs().max()), error


# --- where they run --------------------------------------------------------------------------


@pytest.mark.slow
@needs_triton
@pytest.mark.skipif(torch.cuda.is_available(), reason="the tests of this file run on the GPU")
def test_all_of_this_in_the_interpreter():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "ignore", __file__],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "passed" in done.stdout and "failed" not in done.stdout


def compile_all(capability, dtype):
    """Compile every kernel of the self-check to machine code; nothing is launched."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime.driver import driver
    from triton.runtime.jit import JITFunction

    class NoDevice:
        def __getattr__(self, name):
            return lambda *_: GPUTarget("cuda", capability, 32) if "target" in name else 0

    driver.set_active(NoDevice())
    launch, names = JITFunction.run, set()

    def compile_only(self, *args, **more):
        kernel = launch(self, *args, **{**more, "warmup": True})
        assert kernel.asm["cubin"] and kernel.metadata.shared <= 99 * 1024  # what a 4090 has
        names.add(self.__name__)

    JITFunction.run = compile_only
    for name, args in kernels._cases(torch.device("cpu"), getattr(torch, dtype)):
        getattr(kernels, name)(*args)
    return names


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize(("capability", "dtype"), [(80, "float32"), (90, "bfloat16")])
def test_they_compile_without_a_gpu(capability, dtype, tmp_path):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    code = f"import test_kernels as t; print(t.compile_all({capability}, {dtype!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("sample_merge", "attention_merge", "rope_and_store", "add_rms_norm", "gated"):
        assert name in done.stdout


def test_nothing_needs_triton_to_be_imported():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import grpo_core.engine\n"
        "from grpo_core.engine import kernels; print(kernels.available())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@on_device
def test_the_self_check_passes_and_says_what_is_wrong(monkeypatch):
    for dtype in (torch.bfloat16, torch.float32):
        assert kernels.self_check(DEVICE, dtype) is None
    assert kernels.self_check(DEVICE, torch.bfloat16, 128, 7) is None
    right = kernels.gated

    def gated(*args):
        return right(*args).index_fill_(0, whole([0]), float("nan"))

    monkeypatch.setattr(kernels, "gated", gated)
    assert "gated is off by nan" in kernels.self_check(DEVICE)

    def broken(*args):
        raise RuntimeError("out of registers\nand more")

    monkeypatch.setattr(kernels, "add_rms_norm", broken)
    assert "add_rms_norm failed: RuntimeError: out of registers" in kernels.self_check(DEVICE)


# --- sampling --------------------------------------------------------------------------------


def test_the_noise_is_philox_and_fine_in_the_tail_that_decides():
    zero = [np.zeros(1, np.int64)] * 4
    known = {7: 0x5F6FB709, 10: 0x6627E8D5}  # Random123's own vectors
    for rounds, word in known.items():
        assert reference.philox(zero[0], zero, rounds)[0] == word
    noise = reference.gumbel(torch.tensor([3]), torch.tensor([0]), 2**21, 0)[0]
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=5e-3)
    assert noise.var() == pytest.approx(np.pi**2 / 6, abs=2e-2)
    for power in range(2, 16):  # G > g as often as it should, up to the rarest
        expected = 2**21 * -np.expm1(-(2.0**-power))
        assert abs((noise > power * np.log(2)).sum() - expected) < 5 * expected**0.5


@on_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", [1, 7, 8, 100, 4099, 9001])
def test_sampling_equals_the_reference(vocabulary, dtype):
    logits = normal(7, vocabulary + 3, dtype=dtype)[:, :vocabulary] * 3
    logits[:, 1::3] = float("-inf")
    for greedy in (False, True):
        for temperature in (0.6, 1.0):
            how = (*rows_of(7), temperature, greedy)
            ids, logp = kernels.sample(logits, *how)
            expected, expected_logp = reference.sample(logits, *how)
            assert torch.equal(ids, expected) and ids.dtype == torch.int64
            assert not (ids % 3 == 1).any()
            close(logp, expected_logp)


@on_device
def test_a_row_of_a_real_vocabulary():
    logits = normal(2, 151936, dtype=torch.bfloat16) * 2
    for splits in (None, 1, 5):
        ids, logp = kernels.sample(logits, *rows_of(2), 0.9, False, splits)
        expected, expected_logp = reference.sample(logits, *rows_of(2), 0.9, False)
        assert torch.equal(ids, expected)
        close(logp, expected_logp)


@on_device
def test_an_id_depends_neither_on_other_rows_nor_on_splits():
    logits, (seed, position) = normal(6, 20000), rows_of(6)
    ids, _ = kernels.sample(logits, seed, position.int(), 1.0, False)
    order = whole([5, 2, 0])
    for splits in (1, 2, 3, 5):
        some = (x[order].contiguous() for x in (logits, seed, position))
        assert torch.equal(kernels.sample(*some, 1.0, False, splits)[0], ids[order])
    assert not torch.equal(kernels.sample(logits, seed, position + 1, 1.0, False)[0], ids)
    assert not torch.equal(kernels.sample(logits, seed + 1, position, 1.0, False)[0], ids)


@on_device
def test_tokens_come_as_often_as_softmax_says():
    """The reference, of which many draws are cheap, and the kernel draws what it draws."""
    count, vocabulary = 100_000, 21  # three groups, the last one not full
    row = torch.randn(vocabulary) * 1.5
    logits, position = row.expand(count, -1), torch.arange(count)
    ids, _ = reference.sample(logits, torch.full((count,), 11), position, 0.8, False)
    expected = (row.double() / 0.8).softmax(0) * count
    assert expected.min() > 5
    square = ((ids.bincount(minlength=vocabulary) - expected) ** 2 / expected).sum()
    assert square < 45.3  # 20 degrees of freedom, p = 0.001
    first = slice(0, 100 if INTERPRETED else count)
    ours, _ = kernels.sample(
        logits[first].contiguous().to(DEVICE),
        whole([11]).expand(len(ids[first])).contiguous(),
        whole(position[first]),
        0.8,
        False,
    )
    differing = (ours.cpu() != ids[first]).float().mean()
    assert differing == 0 if INTERPRETED else differing < 1e-4  # keys tie in fp32 now and then


@on_device
def test_greedy_takes_the_lowest_of_equal_logits_and_nan_stays_in_its_row():
    logits = torch.randint(0, 4, (9, 9000)).float().to(DEVICE)
    seed, position = rows_of(9)
    for splits in (1, 2, None):  # ties within a program, and between them
        ids, _ = kernels.sample(logits, seed, position, 1.0, True, splits)
        assert torch.equal(ids.cpu(), logits.cpu().argmax(-1))
    right, right_logp = kernels.sample(logits, seed, position, 1.0, False)
    logits[4] = float("nan")
    ids, logp = kernels.sample(logits, seed, position, 1.0, False)
    assert logp[4].isnan() and 0 <= ids[4] < 9000
    others = whole([0, 1, 2, 3, 5, 6, 7, 8])
    assert torch.equal(ids[others], right[others])
    assert torch.equal(logp[others], right_logp[others])


# --- attention -------------------------------------------------------------------------------


def attention_inputs(ratio, kv_heads, size, dtype):
    """Five rows, two prompts; everything that must not be read is NaN. Row 2 is dead by its
    length, row 3 by its slot; row 4 has no prompt. Caches are views of larger arenas."""
    nan = float("nan")
    prefix = torch.full((2, 2, 70, kv_heads, size), nan).to(DEVICE, dtype)
    cache = torch.full((2, 6, 2, 90, kv_heads, size), nan).to(DEVICE, dtype)[:, :, 1]
    prefix[:, 0, :70] = normal(2, 70, kv_heads, size, dtype=dtype)
    prefix[:, 1, :33] = normal(2, 33, kv_heads, size, dtype=dtype)
    slots, lengths = [5, 0, 3, -1, 2], [1, 90, 0, 7, 66]
    for slot, length in zip(slots, lengths, strict=True):
        if slot >= 0 and length:
            cache[:, slot, :length] = normal(2, length, kv_heads, size, dtype=dtype)
    query = normal(5, ratio * kv_heads, size, dtype=dtype)
    prompts = (whole([0, 1, 1, 7, 0]), whole([70, 33, 33, 9, 0], torch.int32))
    return [query, *prefix, *prompts, *cache, whole(slots), whole(lengths), size**-0.5]


@on_device
@pytest.mark.parametrize(
    ("ratio", "kv_heads", "size", "dtype"),
    [
        (1, 3, 32, torch.float32),
        (3, 2, 64, torch.bfloat16),
        (4, 1, 256, torch.float32),
        (6, 1, 96, torch.float16),
        (7, 2, 64, torch.float32),
        (8, 1, 80, torch.bfloat16),
        (20, 1, 128, torch.bfloat16),
    ],
)
def test_attention_equals_the_reference(ratio, kv_heads, size, dtype):
    args = attention_inputs(ratio, kv_heads, size, dtype)
    for window in (None, 1, 40, 500):
        theirs = reference.decode_attention(*map(kernels._double, args), window)
        assert not theirs.isnan().any()
        for splits in (1, None, 7) if window in (None, 40) else (None,):
            ours = kernels.decode_attention(*args, window, splits)
            close(ours, theirs)
            assert ours[2:4].abs().max() == 0  # the dead rows


# --- the small ones --------------------------------------------------------------------------


@on_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [64, 80, 256])
@pytest.mark.parametrize("norm", [None, 0.0, 1.0])
def test_rope_and_store_equals_the_reference_and_touches_nothing_else(size, dtype, norm):
    heads, kv_heads = 7, 2
    qkv = normal(4, (heads + 2 * kv_heads) * size, dtype=dtype)
    angle = normal(50, size // 2).repeat(1, 2)
    slot, index = whole([1, 4, -1, 0]), whole([6, 0, 99, 3], torch.int32)
    place = [whole([3, 49, 10**6, 0]), slot, index]
    weights = [] if norm is None else [normal(size, dtype=dtype), normal(size, dtype=dtype)]
    caches = torch.full((2, 5, 2, 7, kv_heads, size), float("nan")).to(DEVICE, dtype)[:, :, 1]
    wide = caches.double()
    rest = [heads, kv_heads, *weights, *([] if norm is None else [1e-6, norm])]
    ours = kernels.rope_and_store(qkv, angle.cos(), angle.sin(), *place, *caches, *rest)
    args = [qkv, angle.cos(), angle.sin(), *place, *wide, *rest]
    theirs = reference.rope_and_store(*map(kernels._double, args))
    close(ours, theirs)
    assert torch.equal(caches.isnan(), wide.isnan())
    close(caches.nan_to_num(), wide.nan_to_num())
    assert torch.equal(caches[1, 4, 0], qkv[1].view(-1, size)[-kv_heads:])  # values as they are


@on_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [5, 576, 3000])
def test_add_rms_norm_equals_the_reference_and_hugging_face(size, dtype):
    from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    x, residual = normal(2, 3, size, dtype=dtype).unbind(0)
    for module, offset in ((LlamaRMSNorm(size, 1e-6), 0.0), (Gemma3RMSNorm(size, 1e-6), 1.0)):
        module = module.to(DEVICE, dtype)
        module.weight.data = weight = normal(size, dtype=dtype)
        for more in (residual, None):
            normed, added = kernels.add_rms_norm(x, more, weight, 1e-6, offset)
            assert torch.equal(added, x if more is None else x + more)
            wide = reference.add_rms_norm(added.double(), None, weight.double(), 1e-6, offset)
            close(normed, wide[0])
            close(normed, module(added).detach(), BOUND[dtype] / 2)


@on_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["silu", "gelu_tanh"])
def test_gated_equals_the_reference(kind, dtype):
    x = normal(3, 2 * 1100, dtype=dtype) * 4
    ours = kernels.gated(x, kind)
    close(ours, reference.gated(x.double(), kind))
    if kind == "silu" and dtype != torch.float32:
        gate, up = x.chunk(2, -1)
        same = (ours == F.silu(gate) * up).float().mean()
        assert same > 0.98  # rounded where the library rounds
