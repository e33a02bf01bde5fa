"""AdamW for bf16 weights with an exact fp32 master at 4 bytes a parameter; 8-bit moments on demand.

At the rates of reinforcement learning a step is far below half a bf16 step: of N(0, 0.02) weights
at rate 1e-6 hardly any would ever move. So a bf16 weight gets an int16 residual: together they are
the bits of an fp32 weight.
"""

from __future__ import annotations

from functools import cache, partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.optim.optimizer import ParamsT

BLOCK, SMALLEST_8BIT = 256, 4096
"""8-bit moments: elements that share a scale; parameters with fewer elements keep full moments."""
# Elements worked on at once. Two CPU cores, 10M bf16 elements: 22 ms at 2**15, 20 at 2**17, 17 at
# 2**18, 16 to 30 above (the system may map temporaries of 2 MB anew each time); torch's own on fp32
# takes 4.6. With 8-bit moments 85, 70, 65, 70 to 110. GPU, not measured: 16 MB stay in its cache.
CPU_PIECE, GPU_PIECE = 2**18, 2**22


def split(master: Tensor) -> tuple[Tensor, Tensor]:
    """The bf16 rounding of fp32 `master`, and the rest of its bits as int16.

    The weight is the nearest bf16, ties away from 0: with ties to even, as `.to(bfloat16)` has
    them, a residual could be -32768 or +32768, and int16 holds only one. Like this it is the lower
    half of the bits, signed. `join` gives back every finite value exactly, and for a NaN a NaN. The
    weight is infinite where the master is 3.3962e38 or more.
    """
    weight = torch.empty_like(master, dtype=torch.bfloat16)
    residual = torch.empty_like(master, dtype=torch.int16)
    _split_into(master.clone(), weight, residual)
    return weight, residual


def join(weight: Tensor, residual: Tensor) -> Tensor:
    """The fp32 master of a bf16 `weight` and its int16 `residual`."""
    master = torch.empty_like(weight, dtype=torch.float32)
    # integers throughout: what converts floats may flush denormals to 0 on some processors
    master.view(torch.int32).copy_(weight.view(torch.int16)).bitwise_left_shift_(16).add_(residual)
    return master


def _split_into(master: Tensor, weight: Tensor, residual: Tensor) -> None:
    """`split` into tensors that exist; `master` is overwritten."""
    # a NaN above it (a GPU makes 0x7FFFFFFF) would round up into -0
    bits = master.view(torch.int32).clamp_(max=0x7FFF7FFF)
    residual.copy_(bits)  # keeps the lower 16 bits
    weight.view(torch.int16).copy_(bits.sub_(residual).bitwise_right_shift_(16))


@cache
def levels(signed: bool, device: torch.device) -> Tensor:
    """The 256 values that an 8-bit code can mean, sorted, within [-1, 1] or [0, 1].

    The dynamic map of arXiv 2110.02861: seven decades, each with twice the values of the one below.
    The lowest signed one is -1 here, not -0.993: a block's largest is exact, whatever its sign.
    """
    values = [0.0, 1.0]
    for decade in range(7):
        count = 2**decade if signed else 2 ** (decade + 1)
        scaled = [(0.1 + 0.9 * (i + 0.5) / count) * 10.0 ** (decade - 6) for i in range(count)]
        values += scaled + ([-value for value in scaled] if signed else [])
    values.sort()
    values[0] = -1.0 if signed else 0.0
    return torch.tensor(values, dtype=torch.float32, device=device)


@cache
def _codes(signed: bool, device: torch.device) -> Tensor:
    """The code of every fp32 number, by the upper 18 of its bits as a signed number, plus 2**17.
    256 kB, of which 25 are ever read: a tenth of the time of `torch.bucketize`."""
    middles = torch.arange(2**13 - 2**31, 2**31, 2**14, device=device).int().view(torch.float32)
    middles[[0, 2**17]] = 0.0  # what -0 and +0 find
    borders = levels(signed, device).unfold(0, 2, 1).mean(1)
    if not signed:
        borders[0] = 0.0  # nothing but 0 becomes 0: a step is divided by it
    return torch.bucketize(middles, borders).to(torch.uint8)


def quantise(values: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Codes (uint8) of flat fp32 `values`, and the largest magnitude in each 256 of them (fp32).
    The error is at most half the gap between the neighbouring levels and 0.1 % of the value. What
    is not finite makes the scale so, and is not lost."""
    blocks = pad(values, (0, -len(values) % BLOCK)).view(-1, BLOCK)
    scales = blocks.abs().amax(1)
    unit = blocks / scales.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    index = unit.view(torch.int32).bitwise_right_shift_(14).add_(2**17)
    return _codes(signed, values.device).index_select(0, index.view(-1))[: len(values)], scales


def dequantise(codes: Tensor, scales: Tensor, signed: bool) -> Tensor:
    """What flat `codes` mean, in fp32."""
    index = pad(codes, (0, -len(codes) % BLOCK)).to(torch.int32)
    values = levels(signed, codes.device).index_select(0, index).view(-1, BLOCK)
    return values.mul_(scales[:, None]).view(-1)[: len(codes)]


def _read(state: dict[str, Tensor], key: str, part: slice) -> Tensor:
    """A piece of a moment, unpacked where it is 8-bit; else the state itself."""
    values = state[key].view(-1)[part]
    if values.dtype != torch.uint8:
        return values
    scales = state[f"{key}_scale"][part.start // BLOCK : part.stop // BLOCK]
    values = dequantise(values, scales, signed=key == "exp_avg")
    return values if key == "exp_avg" else values.square_()


def _write(state: dict[str, Tensor], key: str, part: slice, values: Tensor) -> None:
    """Packs what `_read` has unpacked. The second moment is kept as its root, which spans half the
    decades: where gradients in a block differ by e^N(0, 2.5), steps are off by 35 % instead of 57 %
    (rms, 2000 steps), by e^N(0, 1): 11 % instead of 13 %, not at all: 7 % instead of 3 %."""
    if state[key].dtype == torch.uint8:
        signed, blocks = key == "exp_avg", slice(part.start // BLOCK, part.stop // BLOCK)
        codes, scales = quantise(values if signed else values.sqrt_(), signed)
        state[key].view(-1)[part], state[f"{key}_scale"][blocks] = codes, scales


def _begin(state: dict[str, Tensor], parameter: Tensor, state_bits: int) -> None:
    """State of a parameter before its first step; a residual may be there already."""
    zeros, size = partial(torch.zeros, device=parameter.device), parameter.numel()
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    if parameter.dtype == torch.bfloat16:
        state.setdefault("residual", zeros(parameter.shape, dtype=torch.int16))
    packed = state_bits == 8 and size >= SMALLEST_8BIT and dtype == torch.float32
    for key in ("exp_avg", "exp_avg_sq"):
        state[key] = zeros(parameter.shape, dtype=torch.uint8 if packed else dtype)
        if packed:
            state[f"{key}_scale"] = zeros(-(-size // BLOCK), dtype=torch.float32)
    state["step"] = zeros((), dtype=torch.float32)


class AdamW(torch.optim.Optimizer):
    """torch's fused AdamW, bit for bit, on the fp32 masters of bf16 parameters.

    fp32 and fp64 parameters are updated as they are. Gradients of bf16 parameters should be fp32
    (`parameter.grad_dtype`), or sums over micro-batches are rounded. Weights change where they lie:
    views of a larger buffer see it. All state is tensors. Bytes a bf16 parameter, without its
    gradient: 12; with `state_bits=8`, an approximation, 6.03.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        state_bits: int = 32,
    ) -> None:
        if state_bits not in (8, 32):
            raise ValueError(f"state_bits is {state_bits}, it can be 8 or 32")
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "state_bits": state_bits})

    @torch.no_grad()
    def prime(self, parameter: Tensor, master: Tensor) -> None:
        """Make `master` (fp32) the master of a bf16 parameter, which becomes its rounding. Without
        this the first master is the bf16 weight itself."""
        weight, residual = split(master.contiguous())
        parameter.copy_(weight)  # `.to(bfloat16)` had rounded ties another way
        self.state[parameter]["residual"] = residual.to(parameter.device)

    def master_of(self, parameter: Tensor) -> Tensor:
        """A copy of the weight as the optimizer has it: fp32 where the parameter is bf16."""
        weight, state = parameter.detach(), self.state.get(parameter, {})
        if "residual" in state:
            return join(weight, state["residual"])
        return weight.to(torch.promote_types(weight.dtype, torch.float32), copy=True)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; parameters without gradient stay as they are."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """In pieces: masters and unpacked moments exist only a few megabytes at a time."""
        state: dict[str, Tensor] = self.state[parameter]
        if "step" not in state:
            _begin(state, parameter, group["state_bits"])
        state["step"] += 1
        beta1, beta2 = group["betas"]
        options = {key: group[key] for key in ("lr", "weight_decay", "eps")}
        options |= {"beta1": beta1, "beta2": beta2, "amsgrad": False, "maximize": False}
        gradient = gradient.contiguous().view(-1)
        weight = parameter.detach().contiguous().view(-1)
        residual = state["residual"].view(-1) if "residual" in state else None
        size = CPU_PIECE if weight.device.type == "cpu" else GPU_PIECE
        # whole blocks, and whole vectors of the kernel, whose scalar rest could round otherwise
        for start in range(0, len(weight), size):
            part = slice(start, start + size)
            master = weight[part] if residual is None else join(weight[part], residual[part])
            moments = {key: _read(state, key, part) for key in ("exp_avg", "exp_avg_sq")}
            tensors = [master, gradient[part].to(master.dtype), *moments.values()]
            if len({(x.dtype, len(x)) for x in tensors}) > 1:  # the kernel would write astray
                raise ValueError(f"optimizer state does not fit a {parameter.dtype} parameter")
            torch.ops.aten._fused_adamw_(*([x] for x in tensors), [], [state["step"]], **options)
            if residual is not None:
                _split_into(master, weight[part], residual[part])
            for key, values in moments.items():
                _write(state, key, part, values)
        if not parameter.is_contiguous():  # then `weight` was a copy
            parameter.copy_(weight.view(parameter.shape))

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, but state keeps its form: no moments in bf16, 8-bit ones stay 8-bit.

        What fp32 weights left serves bf16 ones, whose masters are those they were primed with, and
        the other way round: a run may go on on a machine with another precision."""
        primed = {p: state["residual"] for p, state in self.state.items() if "residual" in state}
        super().load_state_dict({**state_dict, "state": {}})
        saved = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        own = chain.from_iterable(group["params"] for group in self.param_groups)
        for index, parameter in zip(saved, own, strict=True):
            if not (state := state_dict["state"].get(index)):
                continue
            own_state = {key: value.to(parameter.device) for key, value in state.items()}
            if parameter.dtype == torch.float32 and "residual" in own_state:
                parameter.copy_(join(parameter.bfloat16(), own_state.pop("residual")))
            elif parameter.dtype == torch.bfloat16 and "residual" not in own_state:
                nothing = torch.zeros_like(parameter, dtype=torch.int16)
                own_state["residual"] = primed.get(parameter, nothing)
            self.state[parameter] = own_state
