"""Training a Flax model on arrays in memory."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
import optax
from flax import nnx


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained.

    Attributes:
      num_epochs: number of passes over the training examples.
      learning_rate: learning rate of Adam; with `one_cycle`, its maximum.
      label_smoothing: in `[0, 1)`, share of the target that is spread over all classes.
      batch_size: examples per step.
      one_cycle: whether the learning rate rises in the first tenth of the steps and
        then falls to nearly 0 along a cosine, with gradients clipped to norm 1.
    """

    num_epochs: int
    learning_rate: float
    label_smoothing: float = 0.0
    batch_size: int = 50
    one_cycle: bool = False


# From a model, a recipe and a batch of each array to a scalar.
Loss = Callable[..., jax.Array]


def train(
    model: nnx.Module,
    key: jax.Array,
    arrays: tuple[np.ndarray, ...],
    recipe: Recipe,
    loss: Loss,
    advance: Callable[[], None],
) -> None:
    """Trains a model in place.

    Args:
      model: a model without variables other than parameters.
      key: random key for the order of the examples in every epoch.
      arrays: arrays whose first axis is the examples; an incomplete last batch is left
        out.
      recipe: epochs, learning rate, smoothing and batch size.
      loss: from model, recipe and a batch of each array to a scalar. Define it at the
        top of a module, so that all models of one structure share a program.
      advance: called after every epoch.
    """
    structure, parameters = nnx.split(model)
    num_examples = len(arrays[0])
    num_steps = num_examples // recipe.batch_size
    total = num_steps * recipe.num_epochs
    state = _optimiser(recipe, total).init(parameters)
    for epoch_key in jax.random.split(key, recipe.num_epochs):
        order = np.asarray(jax.random.permutation(epoch_key, num_examples))
        # Jitted steps instead of one `lax.scan`, because XLA runs convolutions inside a
        # loop several times slower on the CPU.
        for step in range(num_steps):
            rows = order[step * recipe.batch_size :][: recipe.batch_size]
            batch = tuple(array[rows] for array in arrays)
            parameters, state = _train_step(
                structure, recipe, loss, total, parameters, state, batch
            )
        # Steps are queued, and the progress bar must not run ahead of them.
        jax.block_until_ready(parameters)
        advance()
    nnx.update(model, parameters)


def _optimiser(recipe: Recipe, num_steps: int) -> optax.GradientTransformation:
    if not recipe.one_cycle:
        return optax.adam(recipe.learning_rate)
    schedule = optax.cosine_onecycle_schedule(num_steps, recipe.learning_rate, 0.1)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


# Only parameters change, so a step is a plain function of arrays: no time goes into
# traversing the model, and all models of one structure share a program.
@functools.partial(
    jax.jit, static_argnames=("structure", "recipe", "loss", "num_steps")
)
def _train_step(
    structure: nnx.GraphDef,
    recipe: Recipe,
    loss: Loss,
    num_steps: int,
    parameters: nnx.State,
    state: optax.OptState,
    batch: tuple[jax.Array, ...],
) -> tuple[nnx.State, optax.OptState]:
    def of_parameters(parameters: nnx.State) -> jax.Array:
        return loss(nnx.merge(structure, parameters), recipe, *batch)

    gradient = jax.grad(of_parameters)(parameters)
    optimiser = _optimiser(recipe, num_steps)
    updates, state = optimiser.update(gradient, state)
    return optax.apply_updates(parameters, updates), state
