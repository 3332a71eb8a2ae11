"""A recurrent language model of sums in Flax, its training and its decoding.

Shapes: N problems, Q symbols of a question, A of an answer, V different symbols, H
numbers of a state.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.typing import ArrayLike

import calib_jax as cj
from calib_jax.demo import training

from .problems import END, NUM_SYMBOLS, PADDING, Problems


class SequenceModel(nnx.Module):
    """Gated recurrent units that read a question and then write the answer.

    References:
      Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for
      Statistical Machine Translation", 2014, arXiv 1406.1078.
    """

    def __init__(self, num_hidden: int, *, rngs: nnx.Rngs) -> None:
        self.num_hidden = num_hidden
        self.cell = nnx.GRUCell(NUM_SYMBOLS, num_hidden, rngs=rngs)
        self.out = nnx.Linear(num_hidden, NUM_SYMBOLS, rngs=rngs)

    def start(self, num_sequences: int) -> jax.Array:
        """State `[N, H]` before the first symbol."""
        return jnp.zeros((num_sequences, self.num_hidden), jnp.float32)

    def step(self, state: jax.Array, symbols: jax.Array) -> jax.Array:
        """State `[N, H]` after one more symbol `[N]`."""
        inputs = jax.nn.one_hot(symbols, NUM_SYMBOLS, dtype=jnp.float32)
        return self.cell(state, inputs)[0]

    def logits(self, states: jax.Array) -> jax.Array:
        """Logits `[..., V]` of the next symbol in states `[..., H]`."""
        return self.out(states)

    def read(self, symbols: jax.Array) -> jax.Array:
        """States `[length, N, H]` after each of the symbols `[N, length]`."""

        def step(state: jax.Array, column: jax.Array) -> tuple[jax.Array, jax.Array]:
            state = self.step(state, column)
            return state, state

        return jax.lax.scan(step, self.start(len(symbols)), symbols.T)[1]


def train(
    key: jax.Array,
    num_hidden: int,
    problems: Problems,
    recipe: training.Recipe,
    advance: Callable[[], None] = lambda: None,
) -> SequenceModel:
    """Makes a model and trains it on the answers of problems.

    Args:
      key: for the initial parameters and the order of the problems.
      num_hidden: H.
      problems: to train on.
      recipe: epochs, learning rate, smoothing and batch size.
      advance: called after every epoch.
    """
    model_key, order_key = jax.random.split(key)
    model = SequenceModel(num_hidden, rngs=nnx.Rngs(model_key))
    arrays = (problems.questions, problems.answers)
    training.train(model, order_key, arrays, recipe, _loss, advance)
    return model


def _loss(
    model: SequenceModel,
    recipe: training.Recipe,
    questions: jax.Array,
    answers: jax.Array,
) -> jax.Array:
    """Mean cross-entropy of the answers' symbols, the end included."""
    symbols = jnp.concatenate([questions, answers[:, :-1]], axis=1)
    # The first symbol of the answer follows the last of the question.
    states = model.read(symbols)[questions.shape[1] - 1 :]
    targets = optax.smooth_labels(
        jax.nn.one_hot(answers.T, NUM_SYMBOLS, dtype=jnp.float32),
        recipe.label_smoothing,
    )
    losses = optax.softmax_cross_entropy(model.logits(states), targets)
    return jnp.mean(losses, where=answers.T != PADDING)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Decoded:
    """A model's answers, and scores of how sure it was.

    Attributes:
      tokens: int32 `[N, A]`, symbols; padding after the end.
      scores: of the symbols up to the end, float32 `[N]` each.
    """

    tokens: jax.Array
    scores: cj.confidence.SequenceScores


def decode(model: SequenceModel, questions: ArrayLike, num_symbols: int) -> Decoded:
    """The most probable symbol, one after the other, until the end or A symbols.

    Args:
      model: the language model.
      questions: int32 `[N, Q]`.
      num_symbols: A.
    """
    structure, parameters = nnx.split(model)
    return _decode(structure, num_symbols, parameters, jnp.asarray(questions))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _decode(
    structure: nnx.GraphDef,
    num_symbols: int,
    parameters: nnx.State,
    questions: jax.Array,
) -> Decoded:
    model = nnx.merge(structure, parameters)
    num_sequences = len(questions)

    def step(
        carry: tuple[jax.Array, jax.Array, cj.confidence.DecodingSummary], _: None
    ) -> tuple[tuple[jax.Array, jax.Array, cj.confidence.DecodingSummary], jax.Array]:
        state, unfinished, summary = carry
        logits = model.logits(state)
        token = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        summary = cj.confidence.update_decoding(
            summary, logits, token, where=unfinished
        )
        written = jnp.where(unfinished, token, PADDING)
        carry = (model.step(state, token), unfinished & (token != END), summary)
        return carry, written

    start = (
        model.read(questions)[-1],
        jnp.ones(num_sequences, bool),
        cj.confidence.init_decoding(num_sequences),
    )
    (_, _, summary), tokens = jax.lax.scan(step, start, length=num_symbols)
    return Decoded(tokens=tokens.T, scores=cj.confidence.sequence_scores(summary))
