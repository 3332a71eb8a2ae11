"""The task of the models: sums of two numbers as text, and how answers are judged.

Numbers are read and written from their last digit on, column by column, as one adds by
hand: 47 + 835 is the question `"7543 8="`, of the columns 7 and 5, 4 and 3, nothing and
8, and its answer is `"288."`, which is 882 and a full stop. A model has to carry, and
to keep the sum in mind until it has read all. Questions and answers are arrays of
symbols, numbers below `NUM_SYMBOLS`; a digit is its own symbol.

Shapes: N problems, Q symbols of a question, A of an answer.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from calib_jax.demo.training import Recipe

SYMBOLS = "0123456789= ."
NUM_SYMBOLS = len(SYMBOLS)
PADDING, END = SYMBOLS.index(" "), SYMBOLS.index(".")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that the results depend on.

    Attributes:
      seed: for the problems, the models, the order of batches and the bootstrap, each
        with its own key.
      max_digits: most digits of a number; the fewest is 1.
      num_train: problems to train on.
      num_calibrate: problems to fit Platt parameters, bins and routers on.
      num_test: problems to measure on.
      small_hidden: size of the small model's state.
      small_recipe: training of the small model.
      large_hidden: size of the large model's state.
      large_recipe: training of the large model.
      num_bins: equal-count bins of every table and router.
      num_draws: bootstrap draws.
      max_loss: accuracy that the cascade may lose, as a share; K is chosen by it.
    """

    seed: int = 0
    max_digits: int = 4
    num_train: int = 20_000
    num_calibrate: int = 4000
    num_test: int = 4000
    small_hidden: int = 40
    small_recipe: Recipe = Recipe(
        num_epochs=10, learning_rate=7e-3, batch_size=64, one_cycle=True
    )
    large_hidden: int = 96
    large_recipe: Recipe = Recipe(
        num_epochs=10, learning_rate=7e-3, batch_size=64, one_cycle=True
    )
    num_bins: int = 15
    num_draws: int = 1000
    max_loss: float = 0.01

    @property
    def num_epochs(self) -> dict[str, int]:
        """Epochs of each model by name."""
        return {
            "small": self.small_recipe.num_epochs,
            "large": self.large_recipe.num_epochs,
        }


@dataclasses.dataclass(frozen=True)
class Problems:
    """A set of problems.

    Attributes:
      numbers: int32 `[N, 2]`, the two that are added.
      questions: int32 `[N, Q]`, symbols.
      answers: int32 `[N, A]`, symbols; padding after the end.
    """

    numbers: np.ndarray
    questions: np.ndarray
    answers: np.ndarray

    @property
    def num_carries(self) -> np.ndarray:
        """How often a one is carried to the next digit, int `[N]`."""
        powers = 10 ** np.arange(1, 10)
        ends = self.numbers[:, :, None] % powers
        return np.sum(np.sum(ends, axis=1) >= powers, axis=1)


@dataclasses.dataclass(frozen=True)
class Data:
    """Problems for the three stages; no problem occurs twice."""

    train: Problems
    calibration: Problems
    test: Problems


def draw(key: jax.Array, settings: Settings) -> Data:
    """Draws problems whose numbers have 1 to `max_digits` digits, each as likely.

    A problem drawn before is left out, so few have the shortest numbers.

    Args:
      key: a random key.
      settings: how many problems, and with how many digits.

    Raises:
      ValueError: for more than half of all existing problems.
    """
    sizes = (settings.num_train, settings.num_calibrate, settings.num_test)
    most = 10 ** (2 * settings.max_digits) // 2
    if sum(sizes) > most:
        raise ValueError(
            f"num_train, num_calibrate, num_test: expected at most {most} problems of "
            f"up to {settings.max_digits} digits, got {sum(sizes)}."
        )
    order_key, *keys = jax.random.split(key, 3)
    different = np.empty((0, 2), np.int32)
    while len(different) < sum(sizes):
        drawn = _draw(keys[0], 2 * sum(sizes), settings.max_digits)
        different = np.unique(np.concatenate([different, drawn]), axis=0)
        keys = list(jax.random.split(keys[1]))
    order = np.asarray(jax.random.permutation(order_key, len(different)))
    ends = np.cumsum(sizes)
    parts = np.split(different[order[: ends[-1]]], ends[:-1])
    return Data(*(write(part, settings.max_digits) for part in parts))


def _draw(key: jax.Array, num_problems: int, max_digits: int) -> np.ndarray:
    digits_key, number_key = jax.random.split(key)
    shape = (num_problems, 2)
    digits = jax.random.randint(digits_key, shape, 1, max_digits + 1)
    # All numbers of one digit, 0 included.
    least = jnp.where(digits == 1, 0, 10 ** (digits - 1))
    return np.asarray(jax.random.randint(number_key, shape, least, 10**digits))


def write(numbers: ArrayLike, max_digits: int) -> Problems:
    """Questions and answers of pairs of numbers int `[N, 2]`."""
    pairs = np.asarray(numbers, np.int32)
    questions, answers = [], []
    for first, second in pairs.tolist():
        columns = zip(f"{first:{max_digits}}", f"{second:{max_digits}}", strict=True)
        questions.append("".join(a + b for a, b in reversed(list(columns))) + "=")
        # A sum may have one digit more, and is followed by the end.
        answers.append(f"{str(first + second)[::-1]}.".ljust(max_digits + 2))
    return Problems(pairs, to_symbols(questions), to_symbols(answers))


def to_symbols(texts: Sequence[str]) -> np.ndarray:
    """Symbols int32 `[N, length]` of texts of one length."""
    rows = [[SYMBOLS.index(letter) for letter in text] for text in texts]
    return np.array(rows, np.int32)


def to_texts(symbols: ArrayLike) -> list[str]:
    """Texts of symbols `[N, length]`; padding is a space."""
    return ["".join(SYMBOLS[symbol] for symbol in row) for row in np.asarray(symbols)]


def sums(answers: ArrayLike) -> list[str]:
    """Answers `[N, A]` as they are read: the first digit first, without the end."""
    return [text.rstrip().removesuffix(".")[::-1] for text in to_texts(answers)]


@jax.jit
def exact_match(tokens: jax.Array, answers: jax.Array) -> jax.Array:
    """Whether every symbol up to the end is right.

    Args:
      tokens: int32 `[N, A]`, padding after the end.
      answers: int32 `[N, A]`, likewise.

    Returns:
      bool `[N]`.
    """
    return jnp.all(tokens == answers, axis=-1)


@jax.jit
def share_of_digits(tokens: jax.Array, answers: jax.Array) -> jax.Array:
    """Partial credit: the share of digits that are right, place by place.

    Args:
      tokens: int32 `[N, A]`, padding after the end.
      answers: int32 `[N, A]`, likewise.

    Returns:
      float32 `[N]` in `[0, 1]`: right digits over the digits of the longer of the two
      numbers, so that a missing or extra digit counts as wrong.
    """
    # Only digits are below ten.
    said, true = tokens < 10, answers < 10
    right = jnp.sum(said & (tokens == answers), axis=-1, dtype=jnp.float32)
    return right / jnp.sum(said | true, axis=-1, dtype=jnp.float32)
