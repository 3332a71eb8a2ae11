"""The command `calib-jax`. Each command imports what it needs when it runs."""

import sys
import traceback
from collections.abc import Sequence

from . import hints, interrupts


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
      argv: arguments without the program's name; by default the process's.

    Returns:
      The exit status: 0 if the work was done, whatever it found; 1 if `check` raises
      an alarm; 2 for an error.
    """
    if argv is None:
        interrupts.watch()
    try:
        from . import commands
    except ImportError as error:
        print(f"calib-jax: {hints.EXTRA} ({error})", file=sys.stderr)
        return 2
    try:
        return commands.run(argv)
    except Exception:
        if argv is not None:
            raise
        # Python's own status for it is that of an alarm.
        traceback.print_exc()
        return 2
