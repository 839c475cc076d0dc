"""What the command's exit codes mean."""

import click

OK = 0
NOT_SO = 1  # What was asked for is not so: the ledger is not valid, there is no such key, a service is not ready.
USAGE = 2
CONFIGURATION = 3
UNREACHABLE = 4
ALREADY_RUNNING = 5
CANNOT_START = 6

EPILOG = """\b
Exit codes:
  0  done
  1  what was asked for is not so (ledger not valid, no such key, not ready)
  2  wrong usage
  3  the configuration cannot be used
  4  the gateway cannot be reached, or refuses the admin token
  5  a gateway runs on this data folder already
  6  something is in the way of starting (a taken port, a folder, a server)
"""


class Failure(click.ClickException):
    """Ends the command with a message that names the fix, and its own exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.code = exit_code

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click has one code for all.
        return self.code
