"""What transformers' generate gives, saved as arrays, has the paper's score."""

import numpy as np
import pytest

import calib_jax as cj

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]

END, PAD, PROMPT = 2, 0, 5


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=41,
        n_positions=64,
        n_embd=16,
        n_layer=1,
        n_head=2,
        bos_token_id=1,
        eos_token_id=END,
        pad_token_id=PAD,
        initializer_range=0.5,
    )
    return transformers.GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module")
def generated(model):
    torch.manual_seed(1)
    prompt = torch.randint(3, 41, (40, PROMPT))
    found = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=True,
        temperature=2.0,
        top_k=15,
        max_new_tokens=20,
        output_logits=True,
        output_scores=True,
        return_dict_in_generate=True,
    )
    tokens = found.sequences[:, PROMPT:]
    # What docs/language_models.md shows.
    ended = (tokens == END).cumsum(dim=1) - (tokens == END).long()
    return found, tokens, ended == 0


def forward(model, found, tokens, where):
    """The mean raw logit, from one pass over prompt and answer."""
    with torch.no_grad():
        logits = model(found.sequences).logits[:, PROMPT - 1 : -1]
    chosen = logits.gather(2, tokens[..., None])[..., 0]
    return ((chosen * where).sum(dim=1) / where.sum(dim=1)).numpy()


def test_the_mean_raw_logit(tmp_path, model, generated):
    found, tokens, where = generated
    # Some answers end early, and none of those that do not is padded.
    assert 0 < (~where).any(dim=1).sum() < len(tokens)
    assert (tokens[~where] == PAD).all()
    arrays = {
        "logits": torch.stack(found.logits, dim=1).numpy(),
        "tokens": tokens.numpy(),
        "token_where": where.numpy(),
    }
    np.savez(tmp_path / "whole.npz", **arrays)
    scores = cj.io.read_outputs(tmp_path / "whole.npz").scores
    expected = forward(model, found, tokens, where)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    small = torch.stack(found.logits, dim=1).gather(2, tokens[..., None])[..., 0]
    np.savez(tmp_path / "small.npz", token_logits=small, token_where=where)
    np.testing.assert_array_equal(
        cj.io.read_outputs(tmp_path / "small.npz").scores, scores
    )
    # bfloat16, as models run: safetensors keeps it.
    from safetensors.torch import save_file

    half = {name: torch.from_numpy(one) for name, one in arrays.items()}
    half["logits"] = half["logits"].to(torch.bfloat16)
    half = {name: one.contiguous() for name, one in half.items()}
    save_file(half, tmp_path / "half.safetensors")
    found = cj.io.read_outputs(tmp_path / "half.safetensors").scores
    np.testing.assert_allclose(found, scores, rtol=0.02, atol=0.02)


def test_what_is_saved_wrongly_is_refused(tmp_path, generated):
    found, tokens, where = generated
    logits = torch.stack(found.logits, dim=1).numpy()
    path = tmp_path / "a.npz"

    def message(**arrays):
        np.savez(path, **arrays)
        with pytest.raises(ValueError) as error:
            cj.io.read_outputs(path)
        return str(error.value)

    scores = torch.stack(found.scores, dim=1).numpy()
    chosen = {"tokens": tokens.numpy(), "token_where": where.numpy()}
    assert "output_logits=True" in message(scores=scores, **chosen)
    assert "output_logits=True" in message(logits=scores, **chosen)
    assert "stack them with axis 1" in message(logits=np.stack(found.logits), **chosen)
    assert "leave the prompt out" in message(
        logits=logits, tokens=found.sequences.numpy()
    )
    assert "save token_where" in message(logits=logits, tokens=tokens.numpy())
