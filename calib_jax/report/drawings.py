"""A figure of a page."""

import dataclasses

from markupsafe import Markup


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure of a page.

    Attributes:
      element: an SVG element.
      moves: for each K, how far right and down the mark moves from the chosen one, in
        the element's coordinates; empty without a mark.
    """

    element: Markup
    moves: tuple[tuple[float, float], ...] = ()
