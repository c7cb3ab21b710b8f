"""CuPy: element-wise kernels, reductions, a raw kernel, a matrix product, a transform."""

from kitlib import Digest, half_way, not_here, say

try:
    import cupy
except ImportError as error:
    not_here(f"CuPy cannot be imported: {error}")

STEPS = 100
WORDS = 1 << 16

SOURCE = r"""
extern "C" __global__ void advance(unsigned long long *state, unsigned long long push, int count)
{
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count)
        state[at] = (state[at] ^ (state[at] >> 7)) * 69069 + push;
}
"""


def main():
    advance = cupy.RawKernel(SOURCE, "advance")
    state = cupy.arange(WORDS, dtype=cupy.uint64)
    spare = state.copy()
    for step in range(STEPS):
        if step == STEPS // 2:
            half_way(lambda: advance((WORDS // 256,), (256,), (spare, cupy.uint64(1), cupy.int32(WORDS))))
        advance((WORDS // 256,), (256,), (state, cupy.uint64(step * 17 + 1), cupy.int32(WORDS)))
        if step % 20 == 19:
            say(f"step {step} total {int(state.sum())}")
    # Small whole numbers: exact however the product is split.
    square = (state[: 128 * 128] % 8).astype(cupy.float32).reshape(128, 128)
    product = square @ square
    spectrum = cupy.fft.fft((state[:4096] % 16).astype(cupy.complex64))
    digest = Digest()
    for array in (state, product, spectrum):
        digest.add(cupy.asnumpy(array).tobytes())
    digest.end()


main()
