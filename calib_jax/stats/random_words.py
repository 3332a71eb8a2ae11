"""Random words of many draws, as `jax.random.bits` gives them, in one fused pass.

On a CPU JAX computes its default generator in a loop of small passes over memory. Here
it is written out, so that XLA fuses it with what uses the words: it takes a third of
the time, compiles in half of it, and holds nothing of the size of the words.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Threefry-2x32 with 20 rounds: the constant of the key schedule, and by how much
# words are rotated in each round.
_PARITY = np.uint32(0x1BD11BDA)
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def words_of_draws(
    key: jax.Array, draws: jax.Array, num_words: int, first: int | jax.Array = 0
) -> jax.Array:
    """`jax.random.bits(jax.random.fold_in(key, draw), ...)` of several draws.

    With JAX's default keys a word depends on the key, its draw and its position alone;
    with others, where the first is not 0, on the first position, too.

    Args:
      key: a JAX random key.
      draws: uint32 `[D]`, numbers of the draws.
      num_words: number of words of each draw, which may be symbolic.
      first: position of the first of them among the words of a draw; may be traced.

    Returns:
      uint32 `[D, num_words]`.
    """
    key = _typed(key)
    if not is_default(key):
        return _of_other_keys(key, draws, num_words, first)
    zero, data = jnp.uint32(0), jax.random.key_data(key)
    high, low = _threefry((data[0], data[1]), (zero, draws))
    position = lax.iota(jnp.uint32, num_words)[None] + jnp.uint32(first)
    high, low = _threefry((high[:, None], low[:, None]), (zero, position))
    return high ^ low


def words_by_number(
    key: jax.Array, draws: jax.Array, num_words: int, first: int | jax.Array = 0
) -> jax.Array:
    """Like `words_of_draws`, in half of the program and of other words.

    The number of the draw and the position are both encrypted with the key itself, so
    that draw 0 is `jax.random.bits` of it.
    """
    key = _typed(key)
    if not is_default(key):
        return _of_other_keys(key, draws, num_words, first)
    data = jax.random.key_data(key)
    position = lax.iota(jnp.uint32, num_words)[None] + jnp.uint32(first)
    high, low = _threefry((data[0], data[1]), (draws[:, None], position))
    return high ^ low


def uniforms(words: jax.Array) -> jax.Array:
    """float32 in [0, 1) of words, as `jax.random.uniform` gives them."""
    return (words >> 9).astype(jnp.float32) * np.float32(2.0**-23)


def normals(words: jax.Array) -> jax.Array:
    """float32 normal variables of words, as `jax.random.normal` gives them."""
    least = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(uniforms(words) * np.float32(2) + least, least)
    return np.float32(np.sqrt(2)) * lax.erf_inv(uniform)


def _typed(key: jax.Array) -> jax.Array:
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    return jax.random.wrap_key_data(key)


def _of_other_keys(
    key: jax.Array, draws: jax.Array, num_words: int, first: int | jax.Array
) -> jax.Array:
    if not isinstance(first, int) or first:
        key = jax.random.fold_in(key, first)
    return jax.vmap(
        lambda draw: jax.random.bits(
            jax.random.fold_in(key, draw), (num_words,), jnp.uint32
        )
    )(draws)


def is_default(key: jax.Array) -> bool:
    """Whether a key is of JAX's default kind, whose words depend on nothing else."""
    return (
        jax.random.key_impl(_typed(key)) == "threefry2x32"
        and jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    )


def _threefry(
    key: tuple[jax.Array, jax.Array], words: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """The block cipher of Salmon et al., "Parallel random numbers", 2011."""
    keys = (*key, key[0] ^ key[1] ^ _PARITY)
    high, low = words[0] + keys[0], words[1] + keys[1]
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            high = high + low
            low = (low << distance | low >> 32 - distance) ^ high
        high = high + keys[(group + 1) % 3]
        low = low + keys[(group + 2) % 3] + np.uint32(group + 1)
    return high, low
