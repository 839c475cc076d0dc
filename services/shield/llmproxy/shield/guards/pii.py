"""Personal data with a form that can be checked: e-mail, phone, social security number, card, IBAN, IP address.

Every pattern is followed by a validator, because a wrong finding changes what the model reads: a card passes Luhn, an IBAN
its country's length and mod 97, an address `ipaddress`.
"""

from collections.abc import Iterator

from llmproxy.common.segments import Segment
from llmproxy.shield import encoded, look
from llmproxy.shield.guards.base import Sighted
from llmproxy.shield.look import Look
from llmproxy.shield.personal import births, columns, emails, ibans, identities, network, numbers, wallets
from llmproxy.shield.personal.page import Page
from llmproxy.shield.verdict import Finding, Verdict, found

OURS = Look.AT | Look.COLONS | Look.DOTS | Look.CODED | Look.NUMBER | Look.STATED | Look.WALLET


class Pii(Sighted):
    """Masks personal data in any text."""

    name = "pii"
    needs = OURS | Look.BIRTH | Look.ENCODED

    def may_hold(self, text: str) -> bool:
        return next(find(text, look.at(text)), None) is not None or encoded.may_hold(text, find)

    def inspect(self, segment: Segment) -> Verdict:
        text = segment.text
        return found([*find(text, look.at(text)), *encoded.found(text, find)])


def find(text: str, bits: int) -> Iterator[Finding]:
    """Each kind is looked for only where its bit says that it may be there."""
    if not bits & (OURS | Look.BIRTH):
        return
    page = Page(text)
    if bits & Look.AT:
        yield from emails.find(text)
    if bits & Look.COLONS:
        yield from network.with_colons(page)
    if bits & Look.DOTS:
        yield from network.with_dots(page)
    if bits & Look.BIRTH:
        yield from births.find(page)
    if bits & Look.CODED:
        yield from ibans.find(page)
        yield from identities.coded(page)
    if bits & Look.NUMBER:
        yield from numbers.find(page)
    if bits & Look.STATED:
        yield from identities.stated(page)
    if bits & Look.WALLET:
        yield from wallets.find(page)
    if bits & (Look.NUMBER | Look.BIRTH):
        yield from columns.find(page)
