"""Logs of inspect_ai whose options a solver shuffled."""

import numpy as np
import pytest
from inspect_files import log, sample
from output_files import one_line, read, write

pytestmark = pytest.mark.once


@pytest.mark.parametrize("how", ["explained", "rewritten", "attached"])
def test_choices_that_a_solver_of_ones_own_shuffles(tmp_path, how):
    """The plan does not say it: the scorer does, or an answer that was written anew."""
    one = sample(0, (0.7, 0.2, 0.05))
    said = "Choices were shuffled before generating a response, the following was sent"
    if how == "rewritten":
        one["output"]["completion"] = "ANSWER: C"
        one["output"]["choices"][0]["message"]["content"] = "ANSWER: C"
    elif how == "attached":
        one["attachments"] = {"x": said}
        one["scores"]["choice"]["explanation"] = "attachment://x"
    else:
        one["scores"]["choice"]["explanation"] = said
    # Others of the run may be as they were by chance.
    others = [sample(k, (0.2, 0.7, 0.05)) for k in (1, 2)]
    path = write(tmp_path / "a", [log(one, *others)])
    message = one_line(path)
    assert "3 x multiple_choice(shuffle=True), whose log has the answers" in message
    assert len(read(path, kind="scores")) == 3
    plain = write(tmp_path / "b", [log(*others)])
    assert read(plain).ids == ("q1", "q2")
    # Another run is not concerned.
    write(tmp_path / "c", [log(one, task="one"), log(*others, task="two")])
    outputs = read(tmp_path / "c")
    assert outputs.ids == ("q1", "q2") and list(outputs.dropped.values()) == [1]
    np.testing.assert_allclose(outputs.log_probabilities[0, 1], np.log(0.7), rtol=1e-6)
