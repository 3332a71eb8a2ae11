"""A release's notes: `python -m release.notes v0.2.0` prints its changelog section.

It fails if the tag is not that of the sources' version, or the section has no date.
"""

import sys
from pathlib import Path

from . import versions
from .refusals import Refusal


def of(root: Path, tag: str) -> str:
    """The changelog's section of a tag.

    Raises:
      Refusal: if the tag, the sources and the changelog do not agree.
    """
    version = versions.current(root)
    if tag != f"v{version}":
        raise Refusal(f"expected the tag v{version} of the sources, got {tag}")
    newest = versions.sections(root)[0]
    if newest.version != version or newest.date == "unreleased":
        raise Refusal(
            f"expected {version} and its date at the top of {versions.CHANGELOG}, "
            f"got {newest.version} - {newest.date}"
        )
    return newest.text


if __name__ == "__main__":
    try:
        print(of(Path(), *sys.argv[1:]))
    except Refusal as error:
        sys.exit(f"release: {error}")
