"""Cases of `calib_jax.io`."""

from .kit import case, elsewhere

CASES = [
    case("validate_logits", "logits", where=True, host=True),
    case("validate_scores", "scores", where=True, host=True),
    case(
        "validate_labels",
        "labels",
        given={"num_classes": 3},
        where=True,
        host=True,
    ),
    # These read or write files: see tests/io.
    *elsewhere(
        "io.write_review_sheet",
        "io.read_review_sheet",
        "io.read_log_probabilities",
        "io.read_many",
        "io.read_outputs",
        "io.stream_outputs",
        "io.join",
        "io.answer_positions",
        "io.choice_log_probabilities",
        "io.save_cascade",
        "io.scalars",
        "save",
        "load",
    ),
]
