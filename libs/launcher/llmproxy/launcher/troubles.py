"""Which services work but are not well, as `llmproxy up` tells it: a ledger that is not continued stops no request, and must not go unseen."""

from collections.abc import Callable, Iterator, Mapping

import msgspec
from msgspec import Struct

PASSING = frozenset({"start", "stop"})
"""Blockers of every start and stop; those that last are told while `up` waits."""


class _Report(Struct, frozen=True):
    """What `/readyz` of a service's probes says."""

    blockers: dict[str, str] = {}


_REPORT = msgspec.json.Decoder(_Report)


def why(answer: str) -> str:
    """Of an answer of `/readyz`: what keeps the service from being well, or "" """
    try:
        blockers = _REPORT.decode(answer).blockers
    except msgspec.DecodeError:
        return ""
    return "; ".join(f"{name}: {text}" for name, text in blockers.items() if name not in PASSING)


class Troubles:
    """Tells each of them once, and when it is over."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def look(self, instances: Mapping[str, Callable[[], str]]) -> Iterator[str]:
        """`instances`: what to ask for each one's answer."""
        for name, ask in instances.items():
            answer = ask()
            if not answer:  # It starts, or hangs, which the supervisor deals with.
                continue
            found, told = why(answer), self._told.get(name, "")
            if found and found != told:
                yield f"{name} is not well; {found}"
            elif told and not found:
                yield f"{name} is well again"
            self._told[name] = found
