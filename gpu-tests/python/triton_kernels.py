"""Triton: kernels compiled at run time, on tensors of PyTorch."""

from kitlib import Digest, half_way, not_here, say

try:
    import torch
    import triton
    import triton.language as tl
except ImportError as error:
    not_here(f"Triton and PyTorch cannot be imported: {error}")

STEPS = 200
WORDS = 1 << 16
BLOCK = 1024


@triton.jit
def advance(state, count, push, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    value = tl.load(state + at, mask=inside, other=0)
    value = (value ^ (value >> 7)) * 69069 + push
    tl.store(state + at, value, mask=inside)


@triton.jit
def total(state, count, out, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(state + at, mask=at < count, other=0)
    tl.atomic_add(out, tl.sum(value))


def main():
    if not torch.cuda.is_available():
        torch.cuda.init()  # says why
    state = torch.arange(WORDS, dtype=torch.int64, device="cuda")
    out = torch.zeros(1, dtype=torch.int64, device="cuda")
    spare = state.clone()
    grid = (WORDS // BLOCK,)
    expected = list(range(WORDS))
    for step in range(STEPS):
        if step == STEPS // 2:
            half_way(lambda: advance[grid](spare, WORDS, 1, BLOCK=BLOCK))
        advance[grid](state, WORDS, step * 17 + 1, BLOCK=BLOCK)
        if step % 20 == 19:
            out.zero_()
            total[grid](state, WORDS, out, BLOCK=BLOCK)
            say(f"step {step} total {out.item()}")
    found = state.cpu().tolist()
    for at in range(0, WORDS, 997):
        value = expected[at]
        for step in range(STEPS):
            value = wrapped((value ^ (value >> 7)) * 69069 + step * 17 + 1)
        if found[at] != value:
            raise SystemExit(f"word {at} is {found[at]}, expected {value}")
    digest = Digest()
    digest.add(state.cpu().numpy().tobytes())
    digest.end()


def wrapped(value):
    """As 64 bits with a sign."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


main()
