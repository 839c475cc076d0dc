"""What every guard promises, and a chain of them like one: verdicts, honest spans, no surprise, linear time."""

import gc
import time
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.policy import INJECTION, KINDS, Policy
from llmproxy.common.segments import Segment
from llmproxy.shield.chain import Chain
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.guards.base import Guard
from llmproxy.shield.verdict import Allow, Block, Finding, Flag, Mask, Verdict

ALL: tuple[Guard, ...] = (*GUARDS, Chain(GUARDS, Policy()))
every_guard = pytest.mark.parametrize("guard", ALL, ids=lambda guard: guard.name)

HOSTILE_CHARS = 100_000
PARTS = 16
SLOWDOWN_MAX = 6  # Beyond proportion: quadratic work makes it 16.
QUICK_S = 0.001  # What is quicker cannot be compared; the whole must then be quick too.


def findings(verdict: Verdict) -> tuple[Finding, ...]:
    return () if isinstance(verdict, Allow) else verdict.findings


def segment(text: str) -> Segment:
    return Segment(role="user", path="messages[0].content", text=text)


def test_names_are_different() -> None:
    assert len({guard.name for guard in ALL}) == len(ALL)


TELLING = st.sampled_from(
    [
        "ada@example.com", "219-09-9998", "4111 1111 1111 1111", "GB82 WEST 1234 5698 7654 32", "10.0.0.7", "fe80::1",
        "+1 415 555 2671", "password: hunter2!x", "my passcode is tr0ub4dor", "NHS 943 476 5919", "AB 12 34 56 C", "ABCPE1234F",
        "born on 1946-04-19", "9e:b2:c6:ee:02:2a", "0x442d4be2c590ec9947f3b32aaba6f7ea49c4cdbb", "api_key=9f8e7d6c5b4a3928170615243342516f", "AKIA" + "IOSFODNN7EXAMPLE", "https://u:p4ssw0rd@h/", "\u200b", "\u00a0",
        "\\u0040", "\uff11", "@", "::", "sk-", "eyJ", "-----BEGIN PRIVATE KEY-----", " ", "\n", "\U000e0041", "\ufdfa",
    ]
)  # fmt: skip
TEXTS = st.lists(TELLING | st.text(max_size=10), max_size=12).map("".join)


@every_guard
@given(text=TEXTS)
def test_a_guard_answers_any_text_with_a_verdict_and_spans_inside_it(guard: Guard, text: str) -> None:
    verdict = guard.inspect(segment(text))
    assert isinstance(verdict, Allow | Flag | Mask | Block)
    # Nothing fails on any text, and of what is found the default policy blocks injections alone.
    if isinstance(verdict, Block):
        assert {finding.kind for finding in verdict.findings if finding.action == "block"} == {INJECTION}
    for finding in findings(verdict):
        assert 0 <= finding.start < finding.end <= len(text)
        assert finding.kind in (*KINDS, INJECTION) or finding.kind.startswith("secret.")


@every_guard
@given(text=TEXTS)
def test_the_quick_look_never_says_no_to_what_inspection_finds(guard: Guard, text: str) -> None:
    if findings(guard.inspect(segment(text))):
        assert guard.may_hold(text)


@every_guard
@given(text=TEXTS)
def test_a_guard_says_the_same_twice(guard: Guard, text: str) -> None:
    assert guard.inspect(segment(text)) == guard.inspect(segment(text))


@every_guard
def test_every_character_there_is_is_read_without_an_error(guard: Guard) -> None:
    characters = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) != "Cs"]
    for start in range(0, len(characters), 50_000):
        text = "1".join(characters[start : start + 50_000])
        assert not isinstance(guard.inspect(segment(text)), Block)


PATTERNS = [
    "a", "1", "1 ", "1-", "1.", "1   ", "0", "+1", "a@", "@a.", "a.", "a@a", "a@b.c.", ":", "::", "a:", "1:", "1.1.1.",
    "12/", "(", "[", "AA00 ", "AA00A", "AA11aaaa", "sk-", "sk-a", "sk-ant-", "eyJ", "eyJa.", "eyJaaaaaaaaaa.eyJ",
    "-----BEGIN PRIVATE KEY-----", "-----BEGIN RSA ", "PRIVATE", "-", "=", "key=", "key: ", "password=", "password is ",
    "token ", "secret secret ", "://", "a://b:", "a://b:c@", "http://a:b", "xox", "xoxb-1-", "AKIA", "AC", "SKa",
    "aws ", "aws'", "AWS_secret_access_key ", "sig=", "&sig=a", ":AA", "1:AA", "ssn ", "ssn 1", "social.security",
    "phone ", "phone 1 ", "tel: 1", "text me ", "version ", "v1.1.1.1 ", "\\u0031", "\\", "\\\\u", "\u200b", "\uff11",
    "4111 ", "4111-1111-", "4 1 1 ", "hooks.slack.com/", "https://discord.com/api/webhooks/", "ghp_", "github_pat_a_",
    "password for ", "Basic a", "pass is ", "passport ", "account 1 ", "born 1999 ", "1999 ", "mrn 1", "AA00", "a00a00a00", "aaaaa0000a",
    "aa:", "aa-", "a::", "1:1:1:", "0x0", "bc1q", "1a1A", "a1B2c3D4", "key=a1B2c3D4e5F6g7H8 ", "datadog a1B2c3D4e5F6g7H8i9J0k1L2 ",
    "token token ", "swift ", "bic AAAA", "MTa.a", "a://a:a@a:a@", "a-us1", "\\n", "-eyJaaaaaaaaaa", "PRIVATE KEY", "\u2013", "\u00e9",
    "llmp-a", "SG.a.", "AccountKey=a", "\u00a01", "ж", "中", "\U0001d7ce",
]  # fmt: skip
"""What the rules begin with, over and over: the place where a pattern that backtracks would show."""


def asked(guard: Guard, text: str) -> tuple[tuple[bool, Verdict], float]:
    """What it says, and the CPU seconds that takes. Without the collector, whose work depends on all that this process holds."""
    gc.disable()
    try:
        start = time.thread_time()
        said = guard.may_hold(text), guard.inspect(segment(text))
        return said, time.thread_time() - start
    finally:
        gc.enable()


def work(guard: Guard, text: str) -> float:
    """CPU seconds."""
    return asked(guard, text)[1]


class Replayed:
    """A guard that a chain asks again about a text whose cost is known: it repeats what it said, and that costs nothing."""

    def __init__(self, guard: Guard) -> None:
        self.name, self._guard = guard.name, guard
        self._said: dict[str, tuple[bool, Verdict]] = {}
        self.cost: dict[str, float] = {}

    def work(self, text: str) -> float:
        self._said[text], seconds = asked(self._guard, text)
        self.cost[text] = max(seconds, self.cost.get(text, 0.0))
        return seconds

    def may_hold(self, text: str) -> bool:
        return self._said[text][0] if text in self._said else self._guard.may_hold(text)

    def inspect(self, segment: Segment) -> Verdict:
        return self._said[segment.text][1] if segment.text in self._said else self._guard.inspect(segment)


def out_of_proportion(work: Callable[[str], float], text: str) -> bool:
    part = text[: HOSTILE_CHARS // PARTS]
    least = max(max(work(part) for _ in range(2)), QUICK_S)
    # What takes too long by its own work does so each time, and what other work has disturbed does not.
    return all(work(text) / least >= PARTS * SLOWDOWN_MAX for _ in range(3))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_hostile_repetition_costs_time_in_proportion_to_its_length(pattern: str) -> None:
    text = (pattern * (HOSTILE_CHARS // len(pattern)))[:HOSTILE_CHARS]
    replayed = {guard: Replayed(guard) for guard in GUARDS}
    slow = [guard.name for guard, again in replayed.items() if out_of_proportion(again.work, text)]
    chain = Chain(GUARDS, Policy())
    chain.guards = tuple(replayed.get(guard, guard) for guard in chain.guards)
    known = [guard for guard in chain.guards if isinstance(guard, Replayed)]
    assert known
    if out_of_proportion(lambda text: work(chain, text) + sum(guard.cost[text] for guard in known), text):
        slow.append(chain.name)
    assert not slow
