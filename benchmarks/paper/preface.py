"""What stands before the numbers: what was run on what, and what differs."""

import jax

import calib_jax as cj

from .study import Study


def blocks(study: Study) -> list[str]:
    """Markdown blocks."""
    settings = study.settings
    paragraphs = [
        "# The paper on real model outputs",
        "Written by `python -m benchmarks.paper FOLDER`; nothing here is typed by "
        f"hand. calib_jax {cj.__version__}, jax {jax.__version__}, on "
        f"{jax.default_backend()}; seed {settings.seed}, {settings.num_halves} random "
        f"halves, {settings.num_draws:,} bootstrap draws, {settings.num_bins} bins. "
        "The numbers behind the tables are in `results.json`. The paper "
        'is Hao et al. 2026, "When Models Know When They Do Not Know", arXiv '
        "2601.07965.",
        "Everything that is fitted or chosen comes from the calibration half: "
        "temperature or Platt parameters, bins, routers, the number of bins kept "
        "small. The test half is only measured on.",
    ]
    if study.missing:
        paragraphs.append(
            f"**Not evaluated**, since their files are not in the folder: "
            f"{', '.join(study.missing)}."
        )
    return [*paragraphs, "## What differs from the paper", _DIFFERENCES]


_DIFFERENCES = """\
- Outputs are those that others published of their models, not of the paper's models.
  Of ImageNet only the answer and its softmax confidence were published: Platt scaling
  of the log-odds of that confidence stands for temperature scaling there.
- The Llama 3 outputs hold one log-probability a question (of the answer token on MMLU
  and MedMCQA, of the model's own "the answer is correct" on GSM8K), not the mean raw
  logit of a generated answer.
- Halves are drawn at random several times, where the paper has one split.
- Tied confidences share a bin, so bins can differ in size where many tie.
- The number of bins kept small (K) is chosen on the calibration half; the paper sweeps
  it on the test half.
- APGR is the integral over the share of calls to the large model, so random routing has
  exactly 0.5.
- Wrong labels are judged by people: the reassessed labels of ImageNet, which cover all
  images, and votes on those CIFAR test images that an earlier method had flagged, which
  give precision on what was checked and no recall.
- Corruptions are applied to 28 by 28 digits, on which the models are trained within the
  run, not to CIFAR or ImageNet images.
- An odd example is left out of a split, so that both halves have the same size."""
