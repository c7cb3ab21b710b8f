"""Numba: kernels compiled from Python, atomics, a stream."""

import warnings

from kitlib import Digest, half_way, not_here, say

try:
    import numpy
    from numba import cuda
except ImportError as error:
    not_here(f"Numba with CUDA cannot be imported: {error}")

STEPS = 100
WORDS = 1 << 14


@cuda.jit
def advance(state, push):
    at = cuda.grid(1)
    if at < state.size:
        state[at] = (state[at] ^ (state[at] >> numpy.uint64(7))) * numpy.uint64(69069) + push


@cuda.jit
def total(state, out):
    at = cuda.grid(1)
    if at < state.size:
        cuda.atomic.add(out, 0, state[at])


def main():
    warnings.simplefilter("ignore")
    start = numpy.arange(WORDS, dtype=numpy.uint64)
    state = cuda.to_device(start)
    spare = cuda.to_device(start)
    stream = cuda.stream()
    grid = WORDS // 128, 128
    for step in range(STEPS):
        if step == STEPS // 2:
            half_way(lambda: advance[(*grid, stream)](spare, numpy.uint64(1)))
        advance[grid](state, numpy.uint64(step * 17 + 1))
        if step % 20 == 19:
            out = cuda.to_device(numpy.zeros(1, dtype=numpy.uint64))
            total[grid](state, out)
            say(f"step {step} total {int(out.copy_to_host()[0])}")
    found = state.copy_to_host()
    expected = start
    for step in range(STEPS):
        expected = (expected ^ (expected >> numpy.uint64(7))) * numpy.uint64(69069) + numpy.uint64(step * 17 + 1)
    if not numpy.array_equal(found, expected):
        at = int(numpy.nonzero(found != expected)[0][0])
        raise SystemExit(f"word {at} is {found[at]}, expected {expected[at]}")
    digest = Digest()
    digest.add(found.tobytes())
    digest.end()


main()
