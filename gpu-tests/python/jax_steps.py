"""JAX: a compiled step of gradient descent on a small problem."""

from kitlib import Digest, half_way, not_here, number, say

try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    not_here(f"JAX cannot be imported: {error}")

STEPS = 60


def loss_of(weights, inputs, targets):
    hidden = jnp.tanh(inputs @ weights["first"])
    return jnp.mean((hidden @ weights["second"] - targets) ** 2)


@jax.jit
def step_of(weights, inputs, targets):
    loss, slope = jax.value_and_grad(loss_of)(weights, inputs, targets)
    return loss, jax.tree.map(lambda w, s: w - 0.05 * s, weights, slope)


def main():
    try:
        devices = jax.devices("gpu")
    except RuntimeError as error:
        if "cuda" not in str(error).lower():
            not_here(f"JAX {jax.__version__} knows no GPU: {error}")
        raise
    with jax.default_device(devices[0]):
        keys = jax.random.split(jax.random.key(7), 4)
        weights = {
            "first": jax.random.normal(keys[0], (32, 64)) * 0.1,
            "second": jax.random.normal(keys[1], (64, 8)) * 0.1,
        }
        inputs = jax.random.normal(keys[2], (256, 32))
        targets = jax.random.normal(keys[3], (256, 8))
        for step in range(STEPS):
            if step == STEPS // 2:
                half_way(lambda: step_of(weights, inputs, targets)[0].block_until_ready())
            loss, weights = step_of(weights, inputs, targets)
            if step % 5 == 4:
                say(f"step {step} loss {number(loss)}")
        digest = Digest()
        for name in sorted(weights):
            digest.add(jax.device_get(weights[name]).tobytes())
        digest.end()


main()
