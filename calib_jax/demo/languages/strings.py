"""Strings that Django shows in its languages, from the translations in its package.

Where a translation is missing, Django shows the English source: whoever collects the
text of a site by its language gets English strings under another label. These labels
are wrong, and it is known which.

Shapes: N strings, C languages.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import django
import jax
import numpy as np
from babel import Locale
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

ENGLISH = "en"
# Serbian in Latin letters, which the large model knows in Cyrillic alone.
LEFT_OUT = ("sr_Latn",)
# What is not language: %(name)s, %d, {name}, tags and entities of HTML.
_MARKUP = re.compile(
    r"%(?:\(\w*\))?[-#0+]*\d*(?:\.\d+)?[a-zA-Z%]|\{[^{}]*\}|<[^<>]*>|&#?\w+;"
)


@dataclasses.dataclass(frozen=True)
class Shown:
    """A string that Django shows.

    Attributes:
      locale: of the translation, such as "pt_BR".
      text: without placeholders and tags.
      is_english: whether it is the English source: the translation is missing, or
        equal to it.
      is_missing: whether the translation is missing.
    """

    locale: str
    text: str
    is_english: bool
    is_missing: bool

    @property
    def language(self) -> str:
        return language_of(self.locale)


@dataclasses.dataclass(frozen=True)
class Strings:
    """A sample of strings, each of them once for a language.

    Attributes:
      languages: C codes, such as "pt".
      texts: N strings.
      ids: N names, the locale before the string.
      given: int32 `[N]`, the language of the locale.
      labels: int32 `[N]`, the language of the string: English for an English source.
    """

    languages: tuple[str, ...]
    texts: tuple[str, ...]
    ids: tuple[str, ...]
    given: np.ndarray
    labels: np.ndarray


def language_of(locale: str) -> str:
    """The language of a locale, without region and script."""
    return locale.partition("_")[0]


def english_name(language: str) -> str:
    """What a language is called in English."""
    return Locale.parse(language).english_name or language


def plain(text: str) -> str:
    """A string without placeholders, tags and double spaces."""
    return " ".join(_MARKUP.sub(" ", text).split())


def django_folder() -> Path:
    """Where the package is installed."""
    return Path(django.__file__).parent


def read(folder: Path, min_letters: int) -> list[Shown]:
    """All strings that a folder of Django shows, with so many letters or more.

    A locale of a region is shown in its language, and not in English, where a string is
    missing: only its own strings count.
    """
    found: list[Shown] = []
    for source in sorted(folder.glob("**/locale/en/LC_MESSAGES/*.po")):
        with source.open("rb") as file:
            english = [message for message in read_po(file) if message.id]
        locales = source.parents[2]
        for path in sorted(locales.glob(f"*/LC_MESSAGES/{source.stem}.mo")):
            if path.parts[-3] not in LEFT_OUT:
                with path.open("rb") as file:
                    found += _shown(path.parts[-3], read_mo(file), english)
    return [one for one in found if _num_letters(one.text) >= min_letters]


def _shown(locale: str, catalog: Catalog, english: list[Message]) -> Iterator[Shown]:
    is_english = language_of(locale) == ENGLISH
    for message in english:
        source = plain(_first(message.id))
        translated = catalog.get(message.id, message.context)
        string = "" if translated is None else _first(translated.string or "")
        is_missing = not string
        if is_missing and "_" in locale:
            continue
        text = source if is_missing else plain(string)
        yield Shown(locale, text, is_english or text == source, is_missing)


def _first(text: str | Collection[str]) -> str:
    """The singular, where a message has several forms."""
    return text if isinstance(text, str) else next(iter(text))


def _num_letters(text: str) -> int:
    return sum(map(str.isalpha, text))


def choose_languages(
    shown: list[Shown], known: Collection[str], min_translated: float
) -> tuple[str, ...]:
    """Languages that are known and of which at least this share is translated.

    Args:
      shown: all strings.
      known: codes of languages that every model knows.
      min_translated: share of strings, in `[0, 1]`.
    """
    missing = Counter(one.language for one in shown if one.is_missing)
    every = Counter(one.language for one in shown)
    return tuple(
        language
        for language in sorted(every.keys() & set(known) | {ENGLISH})
        if missing[language] <= (1 - min_translated) * every[language]
        or language == ENGLISH
    )


def sample(
    key: jax.Array, shown: list[Shown], languages: tuple[str, ...], num_strings: int
) -> Strings:
    """A random sample of the strings that are shown in some languages.

    Args:
      key: a JAX random key.
      shown: all strings.
      languages: which to take.
      num_strings: how many at most.
    """
    number = {language: place for place, language in enumerate(languages)}
    once = {(one.language, one.text): one for one in reversed(shown)}
    rows = [one for one in once.values() if one.language in number]
    order = np.asarray(jax.random.permutation(key, len(rows)))[:num_strings]
    rows = [rows[place] for place in order]
    return Strings(
        languages=languages,
        texts=tuple(one.text for one in rows),
        ids=tuple(f"{one.locale}: {one.text}" for one in rows),
        given=np.array([number[one.language] for one in rows], np.int32),
        labels=np.array(
            [number[ENGLISH if one.is_english else one.language] for one in rows],
            np.int32,
        ),
    )
