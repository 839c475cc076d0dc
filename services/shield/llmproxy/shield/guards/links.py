"""Where links lead: domains that operators allow and deny, schemes, and how much speaks against an address (docs/rails.md)."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache

from llmproxy.common.policy import Policy
from llmproxy.common.rails import DOES, LinkRule, Rails
from llmproxy.common.segments import Segment
from llmproxy.shield import links
from llmproxy.shield.guards.base import Fitted
from llmproxy.shield.made import Made
from llmproxy.shield.verdict import ALLOW, Finding, Verdict, found

KIND = "link"
KEPT_MAX = 64  # Lists of domains.
LINKS_MAX = 1_000  # Of one text. What is behind them is one finding.
QUICK_CHARS_MAX = 16_384
GOES_ON = re.compile(r"[.@:%-]\w")
URL_WITH_HOST = re.compile(r"//\w")
SCRIPTS = frozenset({"javascript", "vbscript", "data"})


class Domains:
    """A list of domains. `example.com` is that and what is below it, `=example.com` that alone."""

    def __init__(self, domains: tuple[str, ...]) -> None:
        self._exact = {links.canonical(domain[1:]) for domain in domains if domain.startswith("=")}
        self._below = {links.canonical(domain) for domain in domains if not domain.startswith("=")}

    def holds(self, host: str) -> bool:
        """A canonical host."""
        if host in self._exact or host in self._below:
            return True
        if host.startswith("[") or links.NUMERIC_HOST.fullmatch(host):
            return False
        at = host.find(".")
        while at >= 0:
            if host[at + 1 :] in self._below:
                return True
            at = host.find(".", at + 1)
        return False


class Links(Fitted):
    """Without settings it does nothing; `under` gives the guard of a policy."""

    name = "links"
    reads_answers = True
    reads_parts = True

    def __init__(self, settings: LinkRule | None = None) -> None:
        self._settings = settings or LinkRule()
        self._allowed, self._denied = Domains(self._settings.allowed), Domains(self._settings.denied)
        # Of what has no scheme, only what is denied by name is a link for certain.
        self._bare = bool(self._settings.denied)

    def applies(self, policy: Policy) -> bool:
        return not policy.rails.links.is_empty

    def under(self, policy: Policy) -> "Links":
        return _settled.of(policy.rails)

    def may_hold(self, text: str) -> bool:
        return not self._settings.is_empty and links.may_stand(text)

    def is_quick(self, text: str) -> bool:
        return len(text) <= QUICK_CHARS_MAX

    def inspect(self, segment: Segment) -> Verdict:
        if not self.may_hold(segment.text):
            return ALLOW
        findings: list[Finding] = []
        for start, end, reason, is_exact in self._suspicious(segment.text):
            if len(findings) == LINKS_MAX:
                findings.append(self._found(start, len(segment.text), reason, is_exact=False))
                break
            findings.append(self._found(start, end, reason, is_exact=is_exact))
        return found(findings) if findings else ALLOW

    def _suspicious(self, text: str) -> Iterator[tuple[int, int, str, bool]]:
        """Where links stand that are ones to act on, and why; those that only Markdown or HTML read last."""
        starts, ends = list[int](), list[int]()
        for start, end in links.places(text, bare=self._bare):
            if reason := self.reason(text[start:end]):
                starts.append(start)
                ends.append(end)
                yield start, end, reason, True
        for start, end, url, is_exact in links.hidden(text, bare=self._bare):
            known = bisect_right(ends, start)
            is_known = known < len(starts) and starts[known] < end
            if not is_known and (reason := self.reason(url)):
                yield start, end, reason, is_exact

    def goes_on(self, pieces: Sequence[str]) -> bool:
        """An address that has a host in the first part may end there: then it only goes on with what begins as no word does, or
        where it leads to is denied by name."""
        if not URL_WITH_HOST.search(pieces[0]) or GOES_ON.match(pieces[1]):
            return True
        address = links.parsed("".join(pieces))
        return address is not None and self._is_denied(links.canonical(address.host))

    def reason(self, url: str) -> str:
        """Why a link is one to act on: `denied`, `scheme`, or the signals that speak against it; "" when it is not."""
        return next((reason for one in links.spellings(url) if (reason := self._reason(one))), "")

    def _reason(self, url: str) -> str:
        settings = self._settings
        address = links.parsed(url)
        if address is None:
            return "denied" if self._is_denied(links.canonical(url)) else ""
        if not address.host:
            return "script" if address.scheme in SCRIPTS and (settings.schemes or settings.risk_min) else ""
        host = links.canonical(address.host)
        is_allowed = self._allowed.holds(host) and links.is_plain(url)
        if self._is_denied(host) or (settings.only_allowed and not is_allowed):
            return "denied"
        if settings.schemes and address.scheme not in settings.schemes and not url.lstrip().startswith(("/", "\\")):
            return "scheme"
        if settings.risk_min and not is_allowed:
            seen = links.signals(url)
            if links.risk(seen) >= settings.risk_min:
                return "+".join(seen)
        return ""

    def _is_denied(self, host: str) -> bool:
        """By any of the names that programs that disagree may read in it."""
        return any(map(self._denied.holds, links.FORBIDDEN.split(host)))

    def _found(self, start: int, end: int, reason: str, *, is_exact: bool = True) -> Finding:
        return Finding(
            kind=KIND,
            start=start,
            end=end,
            action=DOES[self._settings.action],
            is_exact=is_exact,
            rule=reason,
            is_decided=True,
            replacement=self._settings.replacement,
        )


@lru_cache(KEPT_MAX)
def _of(settings: LinkRule) -> Links:
    return Links(settings)


_settled: Made[Rails, Links] = Made(lambda rails: _of(rails.asking().links))
