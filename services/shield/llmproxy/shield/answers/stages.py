"""Which stages a text of an answer goes through, in which order, and which of them go on with the next text."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from llmproxy.shield.answers.canary import Canary
from llmproxy.shield.answers.escapes import Escapes
from llmproxy.shield.answers.images import Images
from llmproxy.shield.answers.invisible import Invisible
from llmproxy.shield.answers.keys import PrivateKeys
from llmproxy.shield.answers.leak import Leak
from llmproxy.shield.answers.lines import DIGITS_IN, DOTS_IN, NAMES_BEFORE, Lines
from llmproxy.shield.answers.looks import Looks
from llmproxy.shield.answers.ordinary import Ordinary
from llmproxy.shield.answers.rails import Rails
from llmproxy.shield.answers.sentences import Sentences
from llmproxy.shield.answers.stage import Report, Stage
from llmproxy.shield.answers.watch import Watch
from llmproxy.shield.answers.words import Words
from llmproxy.shield.verdict import Finding


class Twice:
    """Two stages read the same text: what the first has reported and left there, the other need not report again."""

    __slots__ = ("_left", "_report")

    def __init__(self, report: Report) -> None:
        self._report = report
        self._left: Counter[str] = Counter()

    def first(self, finding: Finding) -> bool:
        is_taken_out = self._report(finding)
        self._left[finding.kind] += not is_taken_out
        return is_taken_out

    def again(self, finding: Finding) -> bool:
        if self._left[finding.kind]:
            self._left[finding.kind] -= 1
            return False
        return self._report(finding)


class Carried(NamedTuple):
    """What goes on from one text to the next, of those that readers put together."""

    lines: tuple[Stage, ...]  # For what is many lines, and begins wherever its head does.
    # For the rest each text is read by itself, too: so it may be shown, and so its first word begins there.
    shown: tuple[Stage, ...]
    values: tuple[Stage, ...]
    links: tuple[Stage, ...]
    twice: Twice
    end: str = ""  # Of the text before.


def new_carried(looks: Looks, report: Report, *, in_json: bool) -> Carried:
    """What may be in several texts that readers put together: these stages go on from one to the next."""
    private_key, twice = looks.guards.private_key, Twice(report)
    shown = () if in_json else tuple(_shown(looks, twice.again))
    lines = () if private_key == "allow" else (PrivateKeys(private_key, report),)
    links = tuple(_links(looks, twice.again, in_json=in_json))
    return Carried(lines, shown, tuple(_values(looks, twice.again)), links, twice)


def new_stages(looks: Looks, report: Report, carried: Carried, *, in_json: bool, is_first: bool) -> list[Stage]:
    guards, stages = looks.guards, list[Stage]()
    if in_json:
        stages.append(Escapes())
    if looks.answers.invisible != "disabled":
        stages.append(Invisible(looks.answers.invisible, report))
    if looks.request.canary:
        stages.append(Canary(looks.request.canary, report))
    if not is_first and not in_json:
        stages += _shown(looks, carried.twice.first)
    stages += carried.shown
    stages += carried.lines
    if not is_first:
        stages += _values(looks, carried.twice.first)
    stages += carried.values
    if not is_first:
        stages += _links(looks, carried.twice.first, in_json=in_json)
    stages += carried.links
    stages += (Rails(taking, report, in_json=in_json) for taking in guards.takings)
    return stages


def new_watch(looks: Looks, report: Report, ordinary: Ordinary, before: str) -> Watch:
    return Watch(
        looks.answers,
        looks.look_behind,
        report,
        is_known=looks.is_known_host,
        asked_for=looks.asked_for,
        ordinary=ordinary,
        before=before,
    )


def new_sentences(looks: Looks, report: Report) -> Sentences | None:
    return Sentences(looks.look_for_orders, report) if looks.guards.orders.guards else None


def new_leak(looks: Looks, report: Report) -> Leak | None:
    if not looks.for_leaks:
        return None
    return Leak(looks.request.system, looks.answers.leak, looks.is_the_users, report)


def _values(looks: Looks, report: Report) -> Iterator[Stage]:
    if looks.guards.looks_for_secrets:
        yield Words(looks.look_for_keys, report)
        yield Lines(NAMES_BEFORE, looks.look_for_passwords, report)
    if looks.guards.takes_out_others:
        yield Lines(DIGITS_IN, looks.look_at_others, report)


def _shown(looks: Looks, report: Report) -> Iterator[Stage]:
    if looks.answers.links.images != "disabled":
        yield Images(looks.answers.links, looks.is_known_host, report, looks.wants_markup)


def _links(looks: Looks, report: Report, *, in_json: bool) -> Iterator[Stage]:
    if looks.guards.takes_out_links:
        yield Lines(DOTS_IN, looks.look_for_links_in_json if in_json else looks.look_for_links, report)
