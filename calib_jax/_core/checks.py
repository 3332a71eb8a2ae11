"""Static checks and conversions of arguments, before anything is traced.

Every public function passes its arguments through this module. A wrong rank, shape,
dtype or count raises `ValueError` with the name of the argument, what was expected and
what it got; lists, NumPy arrays and JAX arrays share one trace. Values are looked at
later: by `domains`, and on request by `calib_jax.io.validate`.

An array of integers is refused where floating numbers are expected. Python numbers and
lists have no dtype of their own and are converted.
"""

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from . import arrays, domains, records, small_programs

_INT32 = np.iinfo(np.int32)
# Logits of these types are read without a converted copy.
_AS_THEY_ARE = (jnp.float32, jnp.bfloat16, jnp.float16)


def _describe(array: Any) -> str:
    return f"{np.dtype(array.dtype).name}{list(array.shape)}"


def _rank(name: str, array: Any, rank: int | Sequence[int], expected: str) -> None:
    ranks = (rank,) if isinstance(rank, int) else tuple(rank)
    if array.ndim not in ranks:
        hint = ""
        if array.ndim == 2 and ranks == (1,) and 1 in array.shape:
            hint = f" Pass {name}.ravel() if its {array.size} entries are the examples."
        elif array.ndim == 2 and ranks == (1,) and name == "scores":
            hint = (
                " Of all classes pass one score a row, such as top1(...).confidence; "
                "or take metrics.multiclass_log_loss, multiclass_brier_score or "
                "classwise_calibration_error."
            )
        raise ValueError(f"{name}: expected {expected}, got {_describe(array)}.{hint}")


def _to_float32(array: Any) -> Any:
    """A float32 array where the given one is: on its device, or a copy on the host."""
    if _is_of_device(array, np.float32):
        return array
    # A float64 beyond the range of float32 becomes inf, as in XLA.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _as_type(array: Any, dtype: Any) -> Any:
    """A copy on the host, or the array of a device."""
    return array if _is_of_device(array, dtype) else array.astype(dtype)


def _is_of_device(array: Any, dtype: Any) -> bool:
    """Whether it is a JAX array of a type already: `astype` takes longer to see it."""
    return isinstance(array, jax.Array) and array.dtype == dtype and not array.weak_type


def _floating(name: str, value: ArrayLike, expected: str) -> Any:
    array, stated = arrays.from_any(name, value, expected)
    if stated and not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(
            f"{name}: expected {expected}, got {_describe(array)}. If it is not in the "
            "place of another argument, convert it with .astype(float)."
        )
    if not stated and array.dtype.kind in "bc":
        kind = "bools" if array.dtype == bool else "complex numbers"
        raise ValueError(f"{name}: expected {expected}, got Python {kind}.")
    return array


def logits(
    name: str, value: ArrayLike, *, rank: Sequence[int] | int, axes: str
) -> jax.Array:
    """Floating array: float32, bfloat16 or float16 as it is, the rest as float32."""
    expected = f"a floating array {axes}"
    array = _floating(name, value, expected)
    _rank(name, array, rank, expected)
    if array.ndim and array.shape[-1] == 0:
        raise ValueError(
            f"{name}: expected at least one class, got {_describe(array)}."
        )
    if isinstance(array, jax.Array) and array.dtype in _AS_THEY_ARE:
        return array
    if array.dtype not in _AS_THEY_ARE:
        array = _to_float32(array)
    elif array.size <= small_programs.MOST_ENTRIES:
        array = np.array(array)
    if array.size <= small_programs.MOST_ENTRIES:
        # Few stay on the host, where their rows may be padded.
        return array
    # Many are copied once, to the device, before a caller may overwrite them.
    return jax.block_until_ready(jnp.asarray(array))


def probabilities(
    name: str, value: ArrayLike, where: Any = None, weight: Any = None
) -> jax.Array:
    """Like `logits` `[N, C]`, but numbers of the host must be in [0, 1]."""
    array = logits(name, value, rank=2, axes="[N, C]")
    masks = [mask for mask in (where, weight) if mask is not None]
    if all(mask.shape == array.shape[:1] for mask in masks):
        # Seen before they went to the device.
        given, _ = arrays.from_any(name, value, "a floating array [N, C]")
        in_domain(domains.PROBABILITY, where, weight, **{name: given})
    return array


def floats(
    name: str, value: ArrayLike, *, rank: Sequence[int] | int = 1, axes: str = "[N]"
) -> jax.Array:
    """Floating array, as float32: scores, confidences, probabilities, weights."""
    expected = f"a floating array {axes}" if axes else "a floating scalar"
    array = _floating(name, value, expected)
    _rank(name, array, rank, expected)
    return _to_float32(array)


def scalar(name: str, value: ArrayLike) -> jax.Array:
    """Floating scalar, as float32: a level, limit or probability."""
    return floats(name, value, rank=0, axes="")


def count(name: str, value: ArrayLike) -> jax.Array:
    """Integer scalar, as int32."""
    return integers(name, value, rank=0, axes="scalar")


def outcomes(
    name: str,
    value: ArrayLike,
    *,
    rank: int = 1,
    axes: str = "[N]",
    keep_bool: bool = False,
) -> jax.Array:
    """Bool, integer or floating array in [0, 1], as float32; bools may be kept."""
    expected = f"a bool, integer or floating array {axes} of outcomes in [0, 1]"
    array, _ = arrays.from_any(name, value, expected)
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool) or (
        jnp.issubdtype(array.dtype, jnp.complexfloating)
    ):
        raise ValueError(f"{name}: expected {expected}, got {_describe(array)}.")
    _rank(name, array, rank, expected)
    if keep_bool and array.dtype == bool:
        return _as_type(array, bool)
    return _to_float32(array)


def integers(
    name: str, value: ArrayLike, *, rank: Sequence[int] | int = 1, axes: str = "[N]"
) -> jax.Array:
    """Integer array, as int32; wider integers are clipped and do not wrap around.

    A clipped integer is beyond the end of any axis, as it was.
    """
    expected = f"an integer array {axes}"
    array, stated = arrays.from_any(name, value, expected)
    empty = not stated and array.size == 0
    if not empty and not jnp.issubdtype(array.dtype, jnp.integer):
        hint = "If its values are integers, convert it with .astype(int)."
        if isinstance(array, np.ndarray) and np.isnan(array).any():
            hint = "Put -1 for missing labels and mask them with where=."
        raise ValueError(f"{name}: expected {expected}, got {_describe(array)}. {hint}")
    _rank(name, array, rank, expected)
    if np.can_cast(array.dtype, np.int32):
        return _as_type(array, np.int32)
    if isinstance(array, jax.Array):
        top = jnp.asarray(_INT32.max, array.dtype)
        array = jnp.minimum(array, top)
        if jnp.issubdtype(array.dtype, jnp.signedinteger):
            array = jnp.maximum(array, jnp.asarray(_INT32.min, array.dtype))
        return array.astype(jnp.int32)
    return np.clip(array, _INT32.min, _INT32.max).astype(np.int32)


def class_numbers(
    name: str, value: ArrayLike, *, rank: int = 1, axes: str = "[N]"
) -> jax.Array:
    """Integers that are compared with each other, as int32.

    Clipped ones would be equal: on the host they are refused, on a device they are -1,
    no class.
    """
    numbers = integers(name, value, rank=rank, axes=axes)
    given, _ = arrays.from_any(name, value, "integers")
    if np.can_cast(given.dtype, np.int32) or not given.size:
        return numbers
    if isinstance(given, jax.Array):
        return jnp.where(numbers.astype(given.dtype) == given, numbers, -1)
    beyond = np.argwhere(numbers != given)
    if beyond.size:
        place = tuple(beyond[0].tolist())
        row = f"row {place[0]}" if len(place) == 1 else f"entry {list(place)}"
        raise ValueError(
            f"{name}: expected values in [-2^31, 2^31), {row} holds {given[place]}. "
            "Number the classes from 0."
        )
    return numbers


def flag(name: str, value: Any) -> bool:
    """A static bool: a string such as "False" would count as true."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}: expected True or False, got {value!r}.")
    return bool(value)


def scored_rows(
    scores: ArrayLike,
    right: ArrayLike,
    where: ArrayLike | None,
    weight: ArrayLike | None = None,
    *,
    keep_bool: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array | None, jax.Array | None]:
    """Arguments named scores, outcomes, where and weights, each `[N]` or None."""
    given = (
        floats("scores", scores),
        outcomes("outcomes", right, keep_bool=keep_bool),
        mask("where", where),
        weights("weights", weight),
    )
    names = ("scores", "outcomes", "where", "weights")
    same_shape(**dict(zip(names, given, strict=True)))
    return given


def two_models(
    scores: Mapping[str, ArrayLike],
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    where: ArrayLike | None,
    *,
    keep_bool: bool = False,
) -> tuple[tuple[jax.Array, ...], jax.Array, jax.Array, jax.Array | None]:
    """Scores `[N]` by name, outcomes of both models and a mask, all of one shape."""
    given = {name: floats(name, value) for name, value in scores.items()}
    small = outcomes("small_outcome", small_outcome, keep_bool=keep_bool)
    large = outcomes("large_outcome", large_outcome, keep_bool=keep_bool)
    rows = mask("where", where)
    same_shape(**given, small_outcome=small, large_outcome=large, where=rows)
    return tuple(given.values()), small, large, rows


def conferred(
    name: str, value: ArrayLike | None, outcome: jax.Array, *, keep_bool: bool = False
) -> jax.Array | None:
    """Outcomes of the answers that models which confer give, or None."""
    if value is None:
        return None
    array = outcomes(name, value, keep_bool=keep_bool)
    same_shape(small_outcome=outcome, **{name: array})
    return array


def bools(
    name: str, value: ArrayLike, *, rank: Sequence[int] | int = 1, axes: str = "[N]"
) -> Any:
    """Bool array; 0/1 integers are refused, because they may be indices."""
    expected = f"a bool array {axes}"
    array, stated = arrays.from_any(name, value, expected)
    if array.dtype != bool and not (not stated and array.size == 0):
        raise ValueError(
            f"{name}: expected {expected}, got {_describe(array)}. Convert it with "
            f".astype(bool)."
        )
    _rank(name, array, rank, expected)
    return _as_type(array, bool)


def mask(
    name: str,
    value: ArrayLike | None,
    *,
    rank: Sequence[int] | int = 1,
    axes: str = "[N]",
) -> jax.Array | None:
    """A `where` argument: None or a bool array."""
    return None if value is None else bools(name, value, rank=rank, axes=axes)


def weights(name: str, value: ArrayLike | None) -> jax.Array | None:
    """A `weights` argument: None or non-negative numbers `[N]`, as float32."""
    if value is None:
        return None
    expected = "a floating or integer array [N] of non-negative weights"
    array, _ = arrays.from_any(name, value, expected)
    if not (
        jnp.issubdtype(array.dtype, jnp.floating)
        or jnp.issubdtype(array.dtype, jnp.integer)
    ):
        raise ValueError(f"{name}: expected {expected}, got {_describe(array)}.")
    _rank(name, array, 1, expected)
    return _to_float32(array)


def class_mask(value: ArrayLike | None, class_logits: jax.Array) -> jax.Array | None:
    """A `class_where` argument: None, bool `[C]`, or bool of the logits' shape."""
    if value is None:
        return None
    expected = f"a bool array [C] or {list(class_logits.shape)}, the logits' shape"
    array, _ = arrays.from_any("class_where", value, expected)
    shapes = (class_logits.shape[-1:], class_logits.shape)
    if array.dtype != bool or tuple(array.shape) not in shapes:
        raise ValueError(f"class_where: expected {expected}, got {_describe(array)}.")
    return _as_type(array, bool).reshape(
        (1,) * (class_logits.ndim - array.ndim) + array.shape
    )


def same_shape(**named: jax.Array | None) -> None:
    """Raises `ValueError` unless all given arrays have the same shape."""
    _agree(chex.assert_equal_shape, "one shape, an entry for each example", named)


def same_rows(**named: jax.Array | None) -> None:
    """Raises `ValueError` unless all given arrays have the same first axis."""
    check = functools.partial(chex.assert_equal_shape_prefix, prefix_len=1)
    _agree(check, "one row for each example", named)


def same_columns(**named: jax.Array | None) -> None:
    """Raises `ValueError` unless all given arrays have the same last axis."""
    check = functools.partial(chex.assert_equal_shape_suffix, suffix_len=1)
    _agree(check, "one entry for each example on the last axis", named)


def broadcasts(**named: jax.Array) -> None:
    """Raises `ValueError` unless the shapes of all arrays broadcast."""
    try:
        np.broadcast_shapes(*(array.shape for array in named.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in named.items())
        raise ValueError(
            f"{', '.join(named)}: expected shapes that broadcast, got {shapes}."
        ) from None


def _agree(
    check: Callable[[list[jax.Array]], None],
    expected: str,
    named: dict[str, jax.Array | None],
) -> None:
    given = {name: array for name, array in named.items() if array is not None}
    try:
        check(list(given.values()))
    except AssertionError:
        shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in given.items())
        raise ValueError(
            f"{', '.join(given)}: expected {expected}, got {shapes}."
        ) from None


def static_int(name: str, value: Any, *, minimum: int) -> int:
    """A static count: a Python or NumPy integer of at least `minimum`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ValueError(f"{name}: expected a static integer, got {value!r}.")
    if number < minimum:
        raise ValueError(f"{name}: expected at least {minimum}, got {number}.")
    if number > _INT32.max:
        raise ValueError(f"{name}: expected below 2^31, got {number}.")
    return number


def static_float(name: str, value: Any) -> float:
    """A static number, finite in float32."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, str) or not abs(number) <= float(np.finfo(np.float32).max):
        raise ValueError(f"{name}: expected a finite number, got {value!r}.")
    return number


def error_rate(name: str, confidence_level: ArrayLike) -> Any:
    """One minus a confidence level, as a float32 scalar.

    A host number outside (0, 1) raises `ValueError`; a device array gives NaN.
    """
    level = scalar(name, confidence_level)
    if isinstance(confidence_level, jax.Array):
        return jnp.where((level > 0) & (level < 1), 1 - level, jnp.nan)
    number = static_float(name, confidence_level)
    if not 0 < number < 1:
        raise ValueError(
            f"{name}: expected a number in (0, 1), such as 0.95, got {number}."
        )
    return np.asarray(1 - number, np.float32)


def traced_int(name: str, value: Any, *, minimum: int, maximum: int) -> Any:
    """A count that may be traced; a host integer out of range raises `ValueError`."""
    if isinstance(value, jax.Array):
        return count(name, value)
    number = static_int(name, value, minimum=minimum)
    if number > maximum:
        raise ValueError(f"{name}: expected at most {maximum}, got {number}.")
    return np.asarray(number, np.int32)


def key(name: str, value: Any) -> jax.Array:
    """A JAX random key, typed or raw; a raw one may be a NumPy array."""
    if isinstance(value, jax.Array):
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key) and value.ndim == 0:
            return value
    if isinstance(value, (jax.Array, np.ndarray)):
        size = jax.eval_shape(jax.random.PRNGKey, 0).shape
        if value.dtype == np.uint32 and value.shape == size:
            return jnp.asarray(value)
    described = repr(value)
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        described = f"{value.dtype}{list(value.shape)}"
    raise ValueError(f"{name}: expected one key, from jax.random.key, got {described}.")


def any_array(name: str, value: ArrayLike) -> jax.Array:
    """Numbers or bools with at least one axis, converted to at most 32 bits."""
    expected = "an array [N, ...] of numbers or bools"
    array, _ = arrays.from_any(name, value, expected)
    if array.ndim == 0 or not (
        jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool
    ):
        raise ValueError(f"{name}: expected {expected}, got {_describe(array)}.")
    if array.dtype == np.float64:
        return _to_float32(array)
    if jnp.issubdtype(array.dtype, jnp.integer):
        return integers(name, array, rank=array.ndim)
    return _as_type(array, array.dtype)


def on_host(name: str, value: Any) -> None:
    """Raises `ValueError` for a traced array, or a tree that holds one."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
        raise ValueError(
            f"{name}: expected a number or an array of numbers, got a traced array. "
            "This function runs on the host: call it outside jax.jit, and pass arrays "
            "instead of using jax.vmap."
        )


def solver(value: Any) -> None:
    """Raises `ValueError` unless `value` is None or an optax transformation."""
    if value is not None and not (hasattr(value, "init") and hasattr(value, "update")):
        raise ValueError(
            "solver: expected an optax gradient transformation such as optax.lbfgs(), "
            f"or None, got {value!r}."
        )


def in_domain(
    domain: domains.Domain, where: Any = None, weights: Any = None, **named: Any
) -> None:
    """Raises `ValueError` for values of the host outside a domain, as cores do."""
    given = {**named, "where": where, "weights": weights}
    domains.check_host(given, dict.fromkeys(named, domain))


def instance(name: str, value: Any, *types: type, batched: bool = False) -> None:
    """Raises `ValueError` unless `value` is an instance of one of the types.

    The arrays of a record must have their axes, after others if it may be batched.
    """
    if not isinstance(value, types):
        expected = " or ".join(kind.__name__ for kind in types)
        got = type(value).__name__
        if isinstance(value, tuple) and value and isinstance(value[0], types):
            got += ". Pass the first of the pair"
        raise ValueError(f"{name}: expected {expected}, got {got}.")
    if records.is_record(value):
        records.check_axes(name, value, batched=batched)
