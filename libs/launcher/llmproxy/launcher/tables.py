"""Where tables are printed: as wide as the terminal is, and every cell as it was written."""

from rich.console import Console

WIDTH = 200  # Where there is no terminal.


def console() -> Console:
    """Names are whatever somebody wrote: `[x]` in one is no markup, and `:x:` no picture."""
    return Console(width=None if Console().is_terminal else WIDTH, markup=False, emoji=False, highlight=False)
