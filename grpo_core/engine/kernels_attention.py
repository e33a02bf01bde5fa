"""Device code of the attention of one new token over prompt and completion, in Triton.

Memory-bound: each key and value is read once per row and KV head, whatever the number of query
heads R that share it; these are the rows of one small matrix product, padded to 16. Rows of one
prompt stand beside each other in the grid, so that its keys come from the L2 cache after the first.
"""
# mypy: disable-error-code="no-untyped-def"
# (what a kernel takes are pointers and device scalars, which have no Python type)

import triton
import triton.language as tl


@triton.jit
def _attend(
    peak, total, mixed, query, key, value, first, last, stride_token, scale,
    SIZE: tl.constexpr, PAD_SIZE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Online softmax over tokens `first` to `last`: `peak` the largest score so far (in bits),
    `total` the sum of 2**(score - peak), `mixed` that of the values under these weights."""
    lane = tl.arange(0, PAD_SIZE)
    for start in range(first, last, BLOCK):
        token = start + tl.arange(0, BLOCK)
        inside = token < last
        place = token[:, None] * stride_token + lane[None, :]
        mask = inside[:, None] & (lane < SIZE)[None, :]
        keys = tl.load(key + place, mask=mask, other=0.0)
        # `ieee` concerns fp32 alone: the default would round its operands to tf32
        score = tl.dot(query, tl.trans(keys), input_precision="ieee") * scale
        score = tl.where(inside[None, :], score, float("-inf"))
        new_peak = tl.maximum(peak, tl.max(score, 1))
        shrink = tl.exp2(peak - new_peak)
        weight = tl.exp2(score - new_peak[:, None])
        values = tl.load(value + place, mask=mask, other=0.0)
        added = tl.dot(weight.to(values.dtype), values, input_precision="ieee")
        mixed = mixed * shrink[:, None] + added
        total = total * shrink + tl.sum(weight, 1)
        peak = new_peak
    return peak, total, mixed


@triton.jit
def attention_part(
    query, prefix_key, prefix_value, prompt, prefix_length, key, value, slot, length, out, out_log,
    scale, window, stride_prompt, stride_prefix_token, stride_prefix_head,
    stride_slot, stride_token, stride_head,
    KV_HEADS: tl.constexpr, RATIO: tl.constexpr, PAD_RATIO: tl.constexpr,
    SIZE: tl.constexpr, PAD_SIZE: tl.constexpr, BLOCK: tl.constexpr,
    PARTIAL: tl.constexpr, WINDOWED: tl.constexpr,
):  # fmt: skip
    """One of several equal shares of the tokens that a row sees, for the heads of one KV head.

    Shares are cut from the lengths on the device, so a short row among long ones is split as
    evenly. A share without tokens writes the weight 2**-inf and no values.
    """
    row = (tl.program_id(0) // KV_HEADS).to(tl.int64)
    kv_head = tl.program_id(0) % KV_HEADS
    split, splits = tl.program_id(1), tl.num_programs(1)
    row_slot = tl.load(slot + row).to(tl.int64)
    own = tl.load(length + row).to(tl.int32)
    before = tl.load(prefix_length + row).to(tl.int32)
    # positions: the prefix from 0 on, then the completion; a dead row sees none
    end = tl.where((own > 0) & (row_slot >= 0), before + own, 0)
    begin = end * 0
    if WINDOWED:
        begin = tl.maximum(end - window, 0)
    share = tl.cdiv(tl.cdiv(end - begin, splits), BLOCK) * BLOCK
    first = begin + split * share
    last = tl.minimum(first + share, end)
    head = tl.arange(0, PAD_RATIO)
    lane = tl.arange(0, PAD_SIZE)
    in_block = (head < RATIO)[:, None] & (lane < SIZE)[None, :]
    row_head = (row * KV_HEADS + kv_head) * RATIO + head
    block = tl.load(query + row_head[:, None] * SIZE + lane[None, :], mask=in_block, other=0.0)
    peak = tl.full([PAD_RATIO], float("-inf"), tl.float32)
    total = tl.zeros([PAD_RATIO], tl.float32)
    mixed = tl.zeros([PAD_RATIO, PAD_SIZE], tl.float32)
    # within a prompt or slot an offset stays below 2**31; which of them it is may go beyond
    offset = tl.load(prompt + row).to(tl.int64) * stride_prompt + kv_head * stride_prefix_head
    peak, total, mixed = _attend(
        peak, total, mixed, block, prefix_key + offset, prefix_value + offset,
        first, tl.minimum(last, before), stride_prefix_token, scale, SIZE, PAD_SIZE, BLOCK,
    )  # fmt: skip
    offset = row_slot * stride_slot + kv_head * stride_head
    peak, total, mixed = _attend(
        peak, total, mixed, block, key + offset, value + offset,
        tl.maximum(first, before) - before, last - before, stride_token, scale,
        SIZE, PAD_SIZE, BLOCK,
    )  # fmt: skip
    mixed = mixed / tl.where(total > 0, total, 1.0)[:, None]
    place = row_head * splits + split
    if PARTIAL:
        tl.store(out_log + place, peak + tl.log2(total), mask=head < RATIO)
        in_block = in_block & (last > first)
    tl.store(out + place[:, None] * SIZE + lane[None, :], mixed, mask=in_block)


@triton.jit
def attention_merge(
    part, part_log, out, splits,
    SIZE: tl.constexpr, PAD_SIZE: tl.constexpr, PAD_SPLITS: tl.constexpr,
):  # fmt: skip
    """One head of one row: its shares, weighted by the sums of their exponentials."""
    row_head = tl.program_id(0).to(tl.int64)
    split, lane = tl.arange(0, PAD_SPLITS), tl.arange(0, PAD_SIZE)
    place = row_head * splits + split
    log = tl.load(part_log + place, mask=split < splits, other=float("-inf"))
    filled = log > float("-inf")
    peak = tl.max(log, 0)
    weight = tl.where(filled, tl.exp2(log - peak), 0.0)
    mask = filled[:, None] & (lane < SIZE)[None, :]
    share = tl.load(part + place[:, None] * SIZE + lane[None, :], mask=mask, other=0.0)
    total = tl.sum(weight, 0)
    mixed = tl.sum(share * weight[:, None], 0) / tl.where(total > 0, total, 1.0)
    tl.store(out + row_head * SIZE + lane, mixed, mask=lane < SIZE)
