"""AdamW on exact fp32 masters, against torch's on fp32 copies; the 8-bit moments."""

import copy
from functools import partial

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from grpo_core import optim
from grpo_core.checkpoint import OPTIMIZER, _optimizer_tensors, _restore_optimizer
from grpo_core.optim import AdamW, dequantise, join, levels, quantise, split

CPU = torch.device("cpu")
TOP = 0x7F7F8000  # from here on the nearest bf16 is infinite


def floats(bits):
    """int64 bit patterns as fp32."""
    return torch.as_tensor(bits, dtype=torch.int64).to(torch.int32).view(torch.float32)


def same_bits(one, two):
    return torch.equal(one.contiguous().view(torch.int32), two.contiguous().view(torch.int32))


def normal(*shape, seed=0, scale=1.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def parameter_of(master, dtype=torch.bfloat16):
    parameter = torch.nn.Parameter(master.to(dtype))
    parameter.grad_dtype = torch.float32
    return parameter


def primed(master, **options):
    """A bf16 parameter with a master that it cannot hold, and its optimizer."""
    parameter = parameter_of(master)
    optimizer = AdamW([parameter], **options)
    optimizer.prime(parameter, master)
    return parameter, optimizer


# --- splitting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("low", [0, 1, 0x7FFE, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x1234, 0xABCD])
def test_splitting_is_exact_for_every_upper_half(low):
    master = floats(torch.arange(2**16) * 2**16 + low)
    weight, residual = split(master)
    assert (weight.dtype, residual.dtype) == (torch.bfloat16, torch.int16)
    back = join(weight, residual)
    number = ~master.isnan()
    assert same_bits(back[number], master[number])
    assert back[~number].isnan().all()
    finite = weight.isfinite() & master.isfinite()
    assert finite.sum() >= 2 * (0x7F80 - 1)
    # half the distance to the next bf16: of weights at a power of two, away from 0
    bits = weight.view(torch.int16)
    above = ((bits & 0x7FFF) + 1).view(torch.bfloat16).double()
    half_ulp = (above - weight.double().abs()) / 2
    error = (weight.double() - master.double()).abs()
    with_next = finite & above.isfinite()
    assert (error <= half_ulp)[with_next].all()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_splitting_is_exact_for_any_bits(bits):
    master = floats(bits)
    master = torch.where(master.isfinite(), master, 0.0)
    assert same_bits(join(*split(master)), master)


def test_ties_go_away_from_zero_and_a_nan_stays_one():
    tie = floats([0x3F808000, 0xBF808000, 0x3F818000])
    weight, residual = split(tie)
    assert weight.tolist() == [1.0078125, -1.0078125, 1.015625]
    assert residual.tolist() == [-(2**15)] * 3
    nan = floats([0x7FFFFFFF, 0x7FC00000, 0xFFC00000])
    weight, residual = split(nan)
    assert weight.isnan().all() and join(weight, residual).isnan().all()
    for bits, is_finite in ((TOP - 1, True), (TOP, False)):
        weight, residual = split(floats([bits]))
        assert weight.isfinite().item() is is_finite
        assert same_bits(join(weight, residual), floats([bits]))


# --- the same numbers as torch's -----------------------------------------------------------------


@pytest.mark.parametrize("piece", [256, 2**18])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_hundred_steps_equal_torchs_bit_for_bit(monkeypatch, piece, weight_decay):
    """Rates change on the way; sizes that are no multiple of anything; one without gradient."""
    monkeypatch.setattr(optim, "CPU_PIECE", piece)
    shapes = [(37, 29), (1,), (), (5000,), (64, 4, 3)]
    masters = [normal(*shape, seed=i, scale=0.02) for i, shape in enumerate(shapes)]
    theirs = [torch.nn.Parameter(master.clone()) for master in masters]
    ours = [parameter_of(master) for master in masters]
    options = {"lr": 1e-4, "weight_decay": weight_decay, "betas": (0.9, 0.98)}
    groups = [{"params": ours[:2]}, {"params": ours[2:], "lr": 3e-3}]
    reference = torch.optim.AdamW(
        [{"params": theirs[:2]}, {"params": theirs[2:], "lr": 3e-3}], fused=True, **options
    )
    optimizer = AdamW(groups, **options)
    for parameter, master in zip(ours, masters, strict=True):
        optimizer.prime(parameter, master)
    for step in range(100):
        for i, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            gradient = normal(*our.shape, seed=1000 * step + i, scale=1e-3)
            if (step + i) % 7:
                our.grad, their.grad = gradient, gradient.clone()
        for some in (optimizer, reference):
            some.param_groups[0]["lr"] = 1e-4 / (1 + step)
            some.step()
            some.zero_grad(set_to_none=True)
    for our, their in zip(ours, theirs, strict=True):
        assert same_bits(optimizer.master_of(our), their.detach())
        assert torch.equal(our, split(their.detach())[0])
        for key in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(optimizer.state[our][key], reference.state[their][key])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plain_parameters_are_updated_as_torch_does(dtype):
    ours, theirs = (torch.nn.Parameter(normal(4099).to(dtype)) for _ in range(2))
    optimizer = AdamW([ours], lr=1e-3)
    reference = torch.optim.AdamW([theirs], lr=1e-3, fused=True)
    for step in range(10):
        ours.grad, theirs.grad = (normal(4099, seed=step).to(dtype) for _ in range(2))
        optimizer.step()
        reference.step()
    assert torch.equal(ours, theirs)
    assert torch.equal(optimizer.master_of(ours), ours)
    assert optimizer.state_dict()["state"][0].keys() == reference.state_dict()["state"][0].keys()


def test_gradients_summed_in_fp32_and_gradients_in_bf16_are_taken():
    master = normal(300, scale=0.02)
    parameter, optimizer = primed(master, lr=1e-3)
    theirs = torch.nn.Parameter(master.clone())
    reference = torch.optim.AdamW([theirs], lr=1e-3, fused=True)
    for scale in (1.0, 1e-3):  # their sum is no bf16
        (parameter.float() * scale * normal(300, seed=2)).sum().backward()
    assert parameter.grad.dtype == torch.float32
    assert not torch.equal(parameter.grad, parameter.grad.bfloat16().float())
    theirs.grad = parameter.grad.clone()
    optimizer.step()
    reference.step()
    parameter.grad = None
    parameter.grad_dtype = None
    parameter.grad = normal(300, seed=3).bfloat16()
    theirs.grad = parameter.grad.float()
    optimizer.step()
    reference.step()
    assert same_bits(optimizer.master_of(parameter), theirs.detach())


def test_without_priming_the_master_is_the_weight():
    parameter = parameter_of(normal(50))
    optimizer = AdamW([parameter], lr=1e-3)
    assert torch.equal(optimizer.master_of(parameter), parameter.detach().float())
    theirs = torch.nn.Parameter(parameter.detach().float())
    reference = torch.optim.AdamW([theirs], lr=1e-3, fused=True)
    parameter.grad, theirs.grad = normal(50, seed=1), normal(50, seed=1)
    optimizer.step()
    reference.step()
    assert same_bits(optimizer.master_of(parameter), theirs.detach())


@pytest.mark.parametrize("bits", [32, 8])
def test_weights_change_where_they_lie(bits):
    """Rows of a fused matrix, a column slice of one and a transposed one, as seen from the buffer;
    their numbers are those of parameters of their own."""
    buffer = normal(400, 64, scale=0.02).bfloat16()
    views = [buffer[:100], buffer[100:200], buffer[200:300, 8:56], buffer[300:].t()]
    assert [view.is_contiguous() for view in views] == [True, True, False, False]
    ours = [torch.nn.Parameter(view) for view in views]
    alone = [torch.nn.Parameter(torch.zeros(v.shape).bfloat16().copy_(v)) for v in views]
    addresses = [parameter.data_ptr() for parameter in ours]
    before = buffer.clone()
    optimizers = [AdamW(parameters, lr=1e-3, state_bits=bits) for parameters in (ours, alone)]
    for parameters, optimizer in zip((ours, alone), optimizers, strict=True):
        for parameter in parameters:
            parameter.grad_dtype = torch.float32
            optimizer.prime(parameter, parameter.detach().float() * (1 + 1e-4))
        for step in range(3):
            for i, parameter in enumerate(parameters):
                parameter.grad = normal(*parameter.shape, seed=10 * step + i)
            optimizer.step()
    assert [parameter.data_ptr() for parameter in ours] == addresses
    for view, our, own in zip(views, ours, alone, strict=True):
        assert torch.equal(view, own)
        assert same_bits(optimizers[0].master_of(our), optimizers[1].master_of(own))
    assert torch.equal(buffer[200:300, :8], before[200:300, :8])
    assert not torch.equal(buffer[200:300, 8:56], before[200:300, 8:56])


def test_autograd_notices_the_change():
    parameter, optimizer = primed(normal(8))
    loss = (parameter * parameter).sum()
    parameter.grad = torch.ones(8)
    optimizer.step()
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


# --- in company ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [32, 8])
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, bits):
    """Through the checkpoint's file, with a parameter that has never had a gradient, and through a
    state dict."""
    shapes = [(70, 70), (5,), (3, 3)]

    def make():
        parameters = [parameter_of(torch.zeros(shape)) for shape in shapes]
        parameters.append(parameter_of(normal(9), torch.float32))
        return parameters, AdamW(parameters, lr=1e-3, state_bits=bits)

    def go_on(parameters, optimizer, steps):
        for step in steps:
            for i in (0, 1, 3):
                parameters[i].grad = normal(*parameters[i].shape, seed=100 * step + i)
            optimizer.step()

    one, first = make()
    first.prime(one[0], normal(70, 70))
    go_on(one, first, range(5))
    save_file(_optimizer_tensors(first), tmp_path / OPTIMIZER)
    kinds = {name: tensor.dtype for name, tensor in load_file(tmp_path / OPTIMIZER).items()}
    moment = torch.float32 if bits == 32 else torch.uint8
    assert kinds["0.residual"] == torch.int16 and kinds["0.exp_avg"] == moment
    assert kinds["1.exp_avg_sq"] == kinds["1.step"] == torch.float32
    saved = copy.deepcopy(first.state_dict())
    weights = [parameter.detach().clone() for parameter in one]
    go_on(one, first, range(5, 10))
    for load in (
        lambda optimizer: _restore_optimizer(tmp_path / OPTIMIZER, optimizer),
        lambda optimizer: optimizer.load_state_dict(copy.deepcopy(saved)),
    ):
        two, second = make()
        for parameter, weight in zip(two, weights, strict=True):
            parameter.data.copy_(weight)
        load(second)
        assert two[2] not in second.state
        go_on(two, second, range(5, 10))
        for a, b in zip(one, two, strict=True):
            assert torch.equal(a, b)
            assert same_bits(first.master_of(a), second.master_of(b))
        found = second.state_dict()
        assert found["param_groups"] == first.state_dict()["param_groups"]
        for index, values in first.state_dict()["state"].items():
            for key, value in values.items():
                assert found["state"][index][key].dtype == value.dtype
                assert torch.equal(found["state"][index][key], value), key


def test_state_that_does_not_fit_is_refused():
    """The kernel itself would write beyond the tensors."""
    small, other = primed(normal(10)), primed(normal(20))
    plain = parameter_of(normal(10), torch.float32)
    small[0].grad = normal(10)
    small[1].step()
    state = small[1].state_dict()
    other[0].grad = normal(20)
    other[1].load_state_dict(state)
    with pytest.raises((ValueError, RuntimeError)):
        other[1].step()
    half = torch.nn.Parameter(normal(10).half())
    half.grad = torch.ones(10).half()
    with pytest.raises(ValueError, match=r"does not fit a torch\.float16"):
        AdamW([half]).step()
    with pytest.raises(ValueError, match="it can be 8 or 32"):
        AdamW([plain], state_bits=16)


@pytest.mark.parametrize("state_bits", [32, 8])
def test_a_run_goes_on_where_weights_have_another_precision(state_bits):
    """fp32 weights to bf16 ones with masters and back: the masters stay what they were."""
    start = normal(80, 70)
    wide = torch.nn.Parameter(start.clone())
    first = AdamW([wide], lr=1e-3, state_bits=state_bits)
    gradients = [normal(80, 70) for _ in range(4)]

    def step(optimizer, parameter, gradient):
        parameter.grad = gradient.clone()
        optimizer.step()

    step(first, wide, gradients[0])
    half, second = primed(wide.detach(), state_bits=state_bits)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert torch.equal(second.master_of(half), wide)
    for gradient in gradients[1:3]:
        step(first, wide, gradient)
        step(second, half, gradient)
    assert torch.equal(second.master_of(half), wide)
    again = torch.nn.Parameter(half.detach().float())  # as a checkpoint's bf16 folder is loaded
    third = AdamW([again], lr=1e-3, state_bits=state_bits)
    third.load_state_dict(copy.deepcopy(second.state_dict()))
    assert torch.equal(again, wide)
    step(first, wide, gradients[3])
    step(third, again, gradients[3])
    assert torch.equal(again, wide)


def test_with_accelerate_clipping_and_a_scheduler():
    """Prepared by accelerate, gradients clipped, the rate changed by a scheduler."""
    master = normal(40, 30, scale=0.1)
    accelerator = Accelerator(cpu=True)
    parameter, inner = primed(master, lr=1e-2)
    optimizer = accelerator.prepare(inner)
    theirs = torch.nn.Parameter(master.clone())
    reference = torch.optim.AdamW([theirs], lr=1e-2, fused=True)
    assert same_bits(inner.master_of(parameter), master)
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(o, 0.9) for o in (inner, reference)]
    for step in range(5):
        gradient = normal(40, 30, seed=step)
        parameter.grad, theirs.grad = gradient.clone(), gradient.clone()
        norms = [
            accelerator.clip_grad_norm_([parameter], 1.0),
            torch.nn.utils.clip_grad_norm_([theirs], 1.0),
        ]
        assert norms[0] == norms[1] > 1
        optimizer.step()
        reference.step()
        for scheduler in schedulers:
            scheduler.step()
        optimizer.zero_grad()
        reference.zero_grad()
        assert parameter.grad is None
    assert same_bits(inner.master_of(parameter), theirs.detach())


# --- 8-bit moments -------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [True, False])
def test_the_levels(signed):
    known = levels(signed, CPU)
    assert known.shape == known.unique().shape == (256,)
    assert torch.equal(known, known.sort().values)
    assert known[0] == (-1 if signed else 0) and known[-1] == 1 and (known == 0).any()
    assert known[known > 0].min() < 1e-6


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("spread", [0.0, 3.0])
@pytest.mark.parametrize("size", [1, 255, 256, 10_000])
def test_the_error_of_a_round_trip_is_within_the_gap(signed, spread, size):
    values = normal(size) * (normal(size, seed=1) * spread).exp() * 1e-5
    values = values if signed else values.abs()
    codes, scales = quantise(values, signed)
    assert (codes.dtype, codes.shape) == (torch.uint8, values.shape)
    assert scales.shape == (-(-size // 256),)
    found = dequantise(codes, scales, signed)
    known = levels(signed, CPU)
    scale = scales.repeat_interleave(256)[:size]
    place = torch.searchsorted(known, values / scale).clamp(1, 255)
    gap = (known[place] - known[place - 1]) * scale
    slack = 1e-3 * values.abs() + 1e-12 * scale
    if signed:
        assert ((found - values).abs() <= gap / 2 + slack).all()
    else:  # what is nearest to 0 is rounded up
        assert ((found - values).abs() <= gap / torch.where(place == 1, 1, 2) + slack).all()
        assert (found[values > 0] > 0).all()
    largest = values.abs() == scale
    assert torch.equal(found[largest], values[largest])
    again = quantise(found, signed)
    assert torch.equal(again[0], codes) and torch.equal(again[1], scales)


def test_blocks_of_nothing_and_values_that_are_not_finite():
    for signed in (True, False):
        assert torch.equal(
            dequantise(*quantise(torch.zeros(300), signed), signed), torch.zeros(300)
        )
        tiny = torch.full((256,), 1e-42)
        assert dequantise(*quantise(tiny, signed), signed).isfinite().all()
        for bad in (float("nan"), float("inf")):
            values = torch.ones(512)
            values[5] = bad
            found = dequantise(*quantise(values, signed), signed)
            assert not found[5].isfinite() and torch.equal(found[256:], values[256:])


def test_bytes_of_a_parameter():
    """bf16 2 + residual 2 + moments: 2 x 4, or 2 x (1 + 4 / 256)."""
    size = 256 * 40
    for bits, expected in ((32, 12.0), (8, 2 + 2 + 2 * (1 + 4 / 256))):
        parameter, optimizer = primed(normal(size), state_bits=bits)
        parameter.grad = normal(size)
        optimizer.step()
        state = optimizer.state_dict()["state"][0]
        tensors = [parameter.detach(), *(v for key, v in state.items() if key != "step")]
        assert sum(t.numel() * t.element_size() for t in tensors) / size == expected
    small, optimizer = primed(normal(optim.SMALLEST_8BIT - 1), state_bits=8)
    double = torch.nn.Parameter(normal(5000).double())
    optimizer.add_param_group({"params": [double]})
    small.grad, double.grad = torch.ones_like(small).float(), torch.ones_like(double)
    optimizer.step()
    assert optimizer.state[small]["exp_avg"].dtype == torch.float32
    assert optimizer.state[double]["exp_avg"].dtype == torch.float64


@pytest.mark.parametrize("piece", [512, 2**18])
def test_pieces_and_repetition_change_no_bit_with_8_bits(monkeypatch, piece):
    found = []
    for size in (2**20, piece):
        monkeypatch.setattr(optim, "CPU_PIECE", size)
        parameter, optimizer = primed(normal(9001, scale=0.02), state_bits=8)
        for step in range(5):
            parameter.grad = normal(9001, seed=step)
            optimizer.step()
        found.append((optimizer.master_of(parameter), *optimizer.state[parameter].values()))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def train(make_loss, shapes, lr, dtype, make_optimizer):
    """The first loss and the mean of the last 20 of 300 steps whose rate falls to 0."""
    masters = [normal(*shape, seed=i, scale=shape[-1] ** -0.5) for i, shape in enumerate(shapes)]
    parameters = [parameter_of(master.bfloat16(), dtype) for master in masters]
    optimizer = make_optimizer(parameters, lr=lr, weight_decay=0.0)
    found = []
    for step in range(300):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / 300)
        optimizer.zero_grad()
        loss = make_loss([parameter.float() for parameter in parameters], step)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found[0], sum(found[-20:]) / 20


def regression(weights, step):
    """A noisy linear problem whose inputs differ in scale by a factor of 1000."""
    inputs = normal(256, 64, seed=step) * torch.logspace(-2, 1, 64)
    target = inputs @ normal(64, 64, seed=99)
    return (inputs @ weights[0].t() - target).square().mean()


def mlp(weights, step):
    inputs = normal(256, 32, seed=step)
    target = torch.sin(3 * inputs[:, :4]) + inputs[:, 4:8] * inputs[:, 8:12]
    hidden = torch.nn.functional.gelu(inputs @ weights[0].t())
    return (hidden @ weights[1].t() @ weights[2].t() - target).square().mean()


@pytest.mark.parametrize(
    ("make_loss", "shapes", "lr"),
    [(regression, [(64, 64)], 3e-2), (mlp, [(256, 32), (64, 256), (4, 64)], 3e-3)],
)
def test_8_bits_learn_as_well(make_loss, shapes, lr):
    """bf16 weights and 8-bit moments: within 10 % of the loss that torch's AdamW reaches in fp32,
    which is far below that of the beginning."""
    begin, full = train(make_loss, shapes, lr, torch.float32, torch.optim.AdamW)
    same_begin, packed = train(make_loss, shapes, lr, torch.bfloat16, partial(AdamW, state_bits=8))
    assert begin == same_begin and full < 0.5 * begin
    assert packed < 1.1 * full


# --- weights move --------------------------------------------------------------------------------


def moved(parameter, optimizer, weight_of):
    """The share of N(0, 0.02) weights that ten steps at rate 1e-6 change."""
    before = weight_of(parameter).clone()
    direction = normal(before.numel(), seed=5).sign()
    for step in range(10):
        noise = normal(before.numel(), seed=10 + step).abs()
        parameter.grad = (direction * noise * 1e-3).to(parameter.grad_dtype)
        optimizer.step()
    return (weight_of(parameter) != before).float().mean().item()


@pytest.mark.parametrize("bits", [32, 8])
def test_weights_move(bits):
    master = normal(10**6, scale=0.02)
    parameter, optimizer = primed(master, lr=1e-6, state_bits=bits)
    assert moved(parameter, optimizer, optimizer.master_of) >= 0.99


def test_weights_in_bf16_alone_hardly_move():
    parameter = torch.nn.Parameter(normal(10**6, scale=0.02).bfloat16())
    optimizer = torch.optim.AdamW([parameter], lr=1e-6, fused=True)
    assert moved(parameter, optimizer, torch.Tensor.detach) < 0.05
