"""What the command's exit codes mean."""

import click

OK = 0
NOT_SO = 1  # What was asked for is not so: the ledger is not valid, there is no such key, a service is not ready.
USAGE = 2
CONFIGURATION = 3
UNREACHABLE = 4
ALREADY_RUNNING = 5
CANNOT_START = 6

MEANS = {
    OK: "done",
    NOT_SO: "what was asked for is not so (ledger not valid, no such key, not ready)",
    USAGE: "wrong usage",
    CONFIGURATION: "the configuration cannot be used",
    UNREACHABLE: "the gateway, or its ledger, cannot be reached, or it refuses the admin token",
    ALREADY_RUNNING: "a gateway runs on this data folder already",
    CANNOT_START: "something is in the way of starting (a taken port, a folder, a server)",
}


def epilog(*codes: int) -> str:
    """For the help of a command that ends with these."""
    return "\n".join(("\b", "Exit codes:", *(f"  {code}  {MEANS[code]}" for code in codes)))


EPILOG = epilog(*MEANS)
ASKING = epilog(OK, NOT_SO, USAGE, UNREACHABLE)  # Of commands that ask admin.


class Failure(click.ClickException):
    """Ends the command with a message that names the fix, and its own exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.code = exit_code

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click has one code for all.
        return self.code
