"""What the guards see in a text of an answer, and what the request says itself, which is no finding."""

import re
from collections.abc import Iterator
from json import dumps
from typing import get_args

from msgspec import Struct, structs
from msgspec.json import encode

from llmproxy.common.actions import PASSING
from llmproxy.common.answers import AnswerAction, Answers
from llmproxy.common.segments import Segment
from llmproxy.shield.answers import keys, leak
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.markup import wants_markup
from llmproxy.shield.answers.said import Request
from llmproxy.shield.answers.stage import Unavailable
from llmproxy.shield.answers.wanted import wants_random
from llmproxy.shield.chain import Budget, Chain
from llmproxy.shield.vault import hashed
from llmproxy.shield.verdict import Allow, Block, Finding

OF_ANSWERS = frozenset(get_args(AnswerAction))
PASSWORD = "secret.password"  # noqa: S105 - the name of a kind
OF_MANY_WORDS = frozenset({PASSWORD, keys.KIND})
HOSTS_KEPT = 1_024


class Looks(Struct):
    """At the texts of one answer, with `budget`. To look raises `Unavailable`."""

    guards: Guards
    answers: Answers  # As the policy of the guards has them.
    request: Asked
    key: bytes  # The tenant's, for the marks of what is hashed.
    for_leaks: bool  # Whether there is a system text to look for.
    budget: Budget | None = None  # Of the event that has come.
    asked: Request | None = None  # The request, from when something is compared with it.
    hosts: dict[str, bool] = {}  # Whether they are named.
    passed: int = 0  # How often something passed that another answer may not say: for its words, or said before.
    is_markup_wanted: bool | None = None
    is_random_wanted: bool | None = None

    def look_for_keys(self, text: str, begin: int) -> list[Finding]:
        return [one for one in self._look(self.guards.secrets, text, begin) if one.kind not in OF_MANY_WORDS]

    def look_for_passwords(self, text: str, begin: int) -> list[Finding]:
        return [one for one in self._look(self.guards.secrets, text, begin) if one.kind == PASSWORD]

    def look_at_others(self, text: str, begin: int) -> list[Finding]:
        return self._look(self.guards.others, text, begin)

    def look_for_links(self, text: str, begin: int) -> list[Finding]:
        return [_taken_out(one) for one in self._seen(self.guards.links, text, begin)]

    def look_for_links_in_json(self, text: str, begin: int) -> list[Finding]:
        return [
            structs.replace(one, replacement=dumps(one.replacement, ensure_ascii=False)[1:-1])
            if one.replacement is not None
            else one
            for one in self.look_for_links(text, begin)
        ]

    def look_for_orders(self, text: str, begin: int) -> list[Finding]:
        return self._look(self.guards.orders, text, begin)

    def look_behind(self, text: str, begin: int) -> list[Finding]:
        """At what was said: what is only to be known, and of the operators' rules also what no stage can take out."""
        guards = self.guards
        others = self._look(guards.behind, text, begin) if guards.behind.guards else []
        if not guards.rails.guards:
            return others
        return [*others, *self._behind(text, begin)]

    def _behind(self, text: str, begin: int) -> Iterator[Finding]:
        """Disguised, or nearly a word of a list: that cannot be taken out any more, so the answer ends."""
        for one in self._seen(self.guards.rails, text, begin):
            if one.action in PASSING or one.guard == "language":
                yield one
            elif one.via or one.score < 1:
                yield structs.replace(one, action="block")

    def _look(self, chain: Chain, text: str, begin: int) -> list[Finding]:
        return [
            self._settled(one, text)
            for one in self._seen(chain, text, begin)
            if not self.is_known(text[one.start : one.end])
        ]

    def _seen(self, chain: Chain, text: str, begin: int) -> list[Finding]:
        verdict = chain.inspect(Segment(role="assistant", path="answer", text=text), self.budget)
        if isinstance(verdict, Allow):
            return []
        if isinstance(verdict, Block) and not verdict.findings:
            raise Unavailable
        return [finding for finding in verdict.findings if finding.end > begin]

    def _settled(self, finding: Finding, text: str) -> Finding:
        """With an action that answers know: kinds that only some guard has a name for come with those of requests."""
        if finding.action == "hash":
            mark = hashed(self.key, finding.kind, text[finding.start : finding.end])
            return structs.replace(finding, replacement=mark)
        if finding.action in OF_ANSWERS:
            return finding
        return structs.replace(finding, action=self.answers.action(finding.kind))

    def says_no_system_text(self, text: str) -> bool:
        return not self.for_leaks or leak.is_clear(self.request.system, text)

    def is_known(self, value: str) -> bool:
        """Whether the request itself says it."""
        return self._passes(value.lower() in self._asked().said)

    def is_defined(self, value: str) -> bool:
        """Whether its definitions say it. They are JSON."""
        return encode(value).decode()[1:-1] in self._asked().definitions

    def is_known_host(self, host: str) -> bool:
        """Whether the user or the operator names it. What a tool returned may name the host that it wants to be told."""
        known = self.hosts.get(host)
        if known is None:
            if len(self.hosts) >= HOSTS_KEPT:
                self.hosts.clear()
            known = self.hosts[host] = self._names(host.lower())
        return self._passes(known)

    def _names(self, host: str) -> bool:
        trusted = self._asked().trusted
        if host not in trusted:  # As nearly always, and a hundredth of what the expression costs.
            return False
        name = re.escape(host)
        return re.search(rf"{name}(?<![\w-]{name})(?![\w-]|\.\w)", trusted.text) is not None

    def is_the_users(self, words: str) -> bool:
        return self._passes(f" {words} " in self._asked().users)

    def _asked(self) -> Request:
        if self.asked is None:
            self.asked = Request(self.request)
        return self.asked

    def asked_for(self) -> bool:
        if self.is_random_wanted is None:
            self.is_random_wanted = wants_random(self.request)
        return self._passes(self.is_random_wanted)

    def wants_markup(self) -> bool:
        if self.is_markup_wanted is None:
            self.is_markup_wanted = wants_markup(self.request)
        return self._passes(self.is_markup_wanted)

    def _passes(self, is_wanted: bool) -> bool:
        self.passed += is_wanted
        return is_wanted


def _taken_out(finding: Finding) -> Finding:
    """Nothing comes back into an answer: what is masked in a request is redacted in it."""
    return structs.replace(finding, action="redact", replacement=None) if finding.action == "mask" else finding
