"""Device code of the sampler, the rotary embedding, the norms and the gate, in Triton.

Loaded by `grpo_core.engine.kernels` only, on the first launch. A program loads a block of a power
of two and masks what lies outside; arithmetic is in fp32, rounded where Hugging Face rounds.
"""
# mypy: disable-error-code="no-untyped-def"
# (what a kernel takes are pointers and device scalars, which have no Python type)

import triton
import triton.language as tl

GROUP = tl.constexpr(8)
"""Neighbouring tokens that share one random number on the first level: what a thread loads at once
(16 bytes of bf16), so the sum over a group needs no exchange between threads."""
ROUNDS = tl.constexpr(7)
"""Philox 4x32 passes BigCrush from seven rounds on (Salmon et al. 2011); ten cost 40 % more."""
NOBODY = tl.constexpr(2**31 - 1)


@triton.jit
def _gumbel(seed, position, index, level: tl.constexpr):
    """Standard Gumbel noise, a function of these four numbers alone.

    G = -log E with E exponential, and the largest G comes from the smallest E: E must be fine near
    0. `-log(u)` is coarse there, because fp32 numbers near u = 1 lie 2**-24 apart and a token of
    probability 1e-7 would be drawn too often or never. `-log(1 - u)` is fine: near u = 0 it is u
    itself, on a grid of 2**-32. Half a step keeps u above 0; the minimum keeps it below 1, where
    rounding of the largest words would put it and where E would be infinite.
    """
    zero = index * 0
    word, _a, _b, _c = tl.philox(seed, index, zero + position, zero + level, zero, n_rounds=ROUNDS)
    uniform = tl.minimum((word.to(tl.float32) + 0.5) * 2.3283064365386963e-10, 0.99999994)
    series = uniform * (1.0 + uniform * (0.5 + uniform * (0.33333333 + uniform * 0.25)))
    return -tl.log(tl.where(uniform < 0.015625, series, -tl.log(1.0 - uniform)))


@triton.jit
def sample_part(
    logits, seed, position, part_key, part_group, part_top, part_total,
    vocabulary, stride, inverse_temperature, tiles,
    GREEDY: tl.constexpr, GROUPS: tl.constexpr,
):  # fmt: skip
    """Best group of `tiles` tiles of a row, and their sum of exponentials, in one reading.

    Gumbel-max on two levels: a group is drawn by logsumexp(group) + G, then (`sample_merge`) a
    token of it by logit + G'. That is softmax exactly, at an eighth of the random numbers, which
    would else cost several times the reading. All running values are a lane's own: threads meet
    once, at the end. A group's key does not depend on the tile or the split that it falls in.
    """
    row = tl.program_id(0).to(tl.int64)
    split = tl.program_id(1)
    row_seed, row_position = tl.load(seed + row), tl.load(position + row).to(tl.int32)
    lane, member = tl.arange(0, GROUPS), tl.arange(0, GROUP)
    best = tl.full([GROUPS], float("-inf"), tl.float32)
    best_group = tl.full([GROUPS], NOBODY, tl.int32)
    top = tl.full([GROUPS], float("-inf"), tl.float32)
    total = tl.zeros([GROUPS], tl.float32)
    for tile in range(split * tiles, split * tiles + tiles):
        group = tile * GROUPS + lane
        index = group[:, None] * GROUP + member[None, :]
        inside = index < vocabulary
        logit = tl.load(logits + row * stride + index, mask=inside, other=float("-inf"))
        logit = logit.to(tl.float32) * inverse_temperature
        high = tl.max(logit, 1)
        # a group of nothing but -inf: -inf - 0, not -inf - -inf, which is NaN
        base = tl.where(high == float("-inf"), 0.0, high)
        weight = tl.sum(tl.exp(logit - base[:, None]), 1)
        key = high
        if not GREEDY:
            key += tl.log(weight) + _gumbel(row_seed, row_position, group, 0)
        better = key > best  # not >=: of equal ones the first
        best, best_group = tl.where(better, key, best), tl.where(better, group, best_group)
        new_top = tl.maximum(top, high)
        base = tl.where(new_top == float("-inf"), 0.0, new_top)
        total = total * tl.exp(top - base) + weight * tl.exp(high - base)
        top = new_top
    place = row * tl.num_programs(1) + split
    key = tl.max(best, 0)
    tl.store(part_key + place, key)
    tl.store(part_group + place, tl.min(tl.where(best == key, best_group, NOBODY), 0))
    peak = tl.max(top, 0)
    base = tl.where(peak == float("-inf"), 0.0, peak)
    tl.store(part_top + place, peak)
    tl.store(part_total + place, tl.sum(total * tl.exp(top - base), 0))


@triton.jit
def sample_merge(
    logits, seed, position, part_key, part_group, part_top, part_total, ids, logp,
    vocabulary, stride, inverse_temperature, splits,
    GREEDY: tl.constexpr, PAD_SPLITS: tl.constexpr,
):  # fmt: skip
    """The winning group of a row and a token of it; of a row with NaN any id, and logp is NaN."""
    row = tl.program_id(0).to(tl.int64)
    part = tl.arange(0, PAD_SPLITS)
    inside, place = part < splits, row * splits + part
    key = tl.load(part_key + place, mask=inside, other=float("-inf"))
    group = tl.load(part_group + place, mask=inside, other=NOBODY)
    winner = tl.min(tl.where(key == tl.max(key, 0), group, NOBODY), 0)
    winner = tl.minimum(winner, (vocabulary - 1) // GROUP)
    index = winner * GROUP + tl.arange(0, GROUP)
    there = index < vocabulary
    logit = tl.load(logits + row * stride + index, mask=there, other=float("-inf"))
    logit = logit.to(tl.float32) * inverse_temperature
    score = logit
    if not GREEDY:
        score += _gumbel(tl.load(seed + row), tl.load(position + row).to(tl.int32), index, 1)
    chosen = tl.min(tl.where((score == tl.max(score, 0)) & there, index, NOBODY), 0)
    chosen = tl.minimum(chosen, vocabulary - 1)
    top = tl.load(part_top + place, mask=inside, other=float("-inf"))
    total = tl.load(part_total + place, mask=inside, other=0.0)
    peak = tl.max(top, 0)
    log_total = peak + tl.log(tl.sum(total * tl.exp(top - peak), 0))
    tl.store(ids + row, chosen.to(tl.int64))
    tl.store(logp + row, tl.sum(tl.where(index == chosen, logit, 0.0), 0) - log_total)


@triton.jit
def _weigh(normed, weight, offset, DTYPE: tl.constexpr, WIDE: tl.constexpr):
    """A normalised fp32 block times the weight: Llama rounds before the product, Gemma after."""
    if WIDE:
        return (normed * (weight + offset)).to(DTYPE)
    return (normed.to(DTYPE).to(tl.float32) * weight).to(DTYPE)


@triton.jit
def _norm_weight(query_norm, key_norm, place, in_query, in_key):
    """The fp32 norm weights of a block that may hold heads of either kind."""
    weight = tl.load(query_norm + place, mask=in_query, other=0.0).to(tl.float32)
    return weight + tl.load(key_norm + place, mask=in_key, other=0.0).to(tl.float32)


@triton.jit
def rope_and_store(
    qkv, cos, sin, position, slot, index, query, key_cache, value_cache, query_norm, key_norm,
    epsilon, offset, stride_row, stride_slot, stride_token, stride_head,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HALF: tl.constexpr, PAD_HALF: tl.constexpr,
    BLOCK: tl.constexpr, NORM: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """`BLOCK` heads of a row, each as its two halves, which the rotation turns into each other."""
    dtype: tl.constexpr = qkv.dtype.element_ty
    row = tl.program_id(0).to(tl.int64)
    row_slot = tl.load(slot + row).to(tl.int64)
    alive = row_slot >= 0  # of a dead row nothing is read, and its query is zero
    row_position = tl.load(position + row, mask=alive, other=0).to(tl.int64)
    row_index = tl.load(index + row, mask=alive, other=0).to(tl.int64)
    head = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK))[:, None]
    lane = tl.arange(0, PAD_HALF)[None, :]
    in_lane = lane < HALF
    inside = in_lane & (head < HEADS + 2 * KV_HEADS) & alive
    source = qkv + row * stride_row + head * (2 * HALF) + lane
    first = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + HALF, mask=inside, other=0.0).to(tl.float32)
    rotated = head < HEADS + KV_HEADS
    if NORM:
        square = tl.sum(first * first, 1) + tl.sum(second * second, 1)
        factor = tl.rsqrt(square / (2 * HALF) + epsilon)[:, None]
        in_query, in_key = in_lane & (head < HEADS), in_lane & (head >= HEADS) & rotated
        place = lane + head * 0
        weight = _norm_weight(query_norm, key_norm, place, in_query, in_key)
        normed = _weigh(first * factor, weight, offset, dtype, WIDE).to(tl.float32)
        first = tl.where(rotated, normed, first)
        weight = _norm_weight(query_norm, key_norm, place + HALF, in_query, in_key)
        normed = _weigh(second * factor, weight, offset, dtype, WIDE).to(tl.float32)
        second = tl.where(rotated, normed, second)
    angle = row_position * (2 * HALF) + lane
    c = tl.where(rotated, tl.load(cos + angle, mask=in_lane & alive, other=0.0), 1.0)
    s = tl.where(rotated, tl.load(sin + angle, mask=in_lane & alive, other=0.0), 0.0)
    turned_first = (first * c - second * s).to(dtype)
    turned_second = (second * c + first * s).to(dtype)
    target = query + (row * HEADS + head) * (2 * HALF) + lane
    tl.store(target, turned_first, mask=in_lane & (head < HEADS))
    tl.store(target + HALF, turned_second, mask=in_lane & (head < HEADS))
    place = row_slot * stride_slot + row_index * stride_token
    target = key_cache + place + (head - HEADS) * stride_head + lane
    is_key = inside & (head >= HEADS) & rotated
    tl.store(target, turned_first, mask=is_key)
    tl.store(target + HALF, turned_second, mask=is_key)
    target = value_cache + place + (head - HEADS - KV_HEADS) * stride_head + lane
    is_value = inside & (head >= HEADS + KV_HEADS)
    tl.store(target, turned_first, mask=is_value)
    tl.store(target + HALF, turned_second, mask=is_value)


@triton.jit
def add_rms_norm(
    x, residual, weight, normed, added, epsilon, offset,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, ADD: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One row, kept in registers between the statistics and the product."""
    dtype: tl.constexpr = x.dtype.element_ty
    lane = tl.arange(0, BLOCK)
    inside = lane < SIZE
    place = tl.program_id(0).to(tl.int64) * SIZE + lane
    wide = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        wide += tl.load(residual + place, mask=inside, other=0.0).to(tl.float32)
        rounded = wide.to(dtype)
        tl.store(added + place, rounded, mask=inside)
        wide = rounded.to(tl.float32)
    factor = tl.rsqrt(tl.sum(wide * wide, 0) / SIZE + epsilon)
    scale = tl.load(weight + lane, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed + place, _weigh(wide * factor, scale, offset, dtype, WIDE), mask=inside)


@triton.jit
def gated(gate_up, out, SIZE: tl.constexpr, BLOCK: tl.constexpr, GELU: tl.constexpr):
    """A block of act(gate) · up; the activation is rounded before the product."""
    row = tl.program_id(0).to(tl.int64)
    lane = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < SIZE
    source = gate_up + row * (2 * SIZE) + lane
    gate = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(source + SIZE, mask=inside, other=0.0)
    if GELU:  # (1 + tanh z) / 2 = sigmoid(2z), which cannot overflow
        active = gate * tl.sigmoid(1.5957691216057308 * (gate + 0.044715 * gate * gate * gate))
    else:
        active = gate * tl.sigmoid(gate)
    active = active.to(gate_up.dtype.element_ty).to(tl.float32)
    tl.store(out + row * SIZE + lane, active * up.to(tl.float32), mask=inside)
