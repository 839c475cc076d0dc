"""A phrase that operators look for and that several parts of a message say together (docs/adr/0041)."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.explanations import Explanation
from llmproxy.common.policy import Policy
from llmproxy.common.testing import FakeClock
from llmproxy.shield import preflight
from llmproxy.shield.examine import Examined, Order, Refused, examine, examine_within
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.offload import INLINE_WORK_MAX
from llmproxy.shield.seams import GAP

RING = preflight.pipeline(GUARDS)
PHRASE = r"project\s+bluebird"
MAIL = "ada@example.org"
Body = dict[str, Any]


def order(body: Body, rails: Any, **more: Any) -> Order:
    policy = msgspec.convert({"injection": {"mode": "disabled"}, "rails": rails, **more}, Policy)
    return Order(body=json.dumps(body).encode(), policy=policy, key=b"k" * 32, max_depth=64)


def asked(body: Body, rails: Any, **more: Any) -> Examined | Refused:
    return examine(order(body, rails, **more), RING, FakeClock())


def chat(*texts: str, role: str = "user") -> Body:
    return {"messages": [{"role": role, "content": [{"type": "text", "text": text} for text in texts]}]}


def rule(pattern: str = PHRASE, **more: Any) -> Any:
    return {"rules": [{"name": "projects", "pattern": pattern, **more}]}


def topic(**more: Any) -> Any:
    return {"topics": [{"name": "takeover", **more}]}


def sent(rails: Any, *texts: str, **more: Any) -> list[str]:
    """What a provider gets of the parts."""
    found = asked(chat(*texts), rails, **more)
    assert isinstance(found, Examined)
    body = json.loads(found.masked) if found.masked is not None else chat(*texts)
    return [part["text"] for part in body["messages"][0]["content"]]


def why(rails: Any, *texts: str, **more: Any) -> tuple[Explanation, ...]:
    found = asked(chat(*texts), rails, **more)
    assert isinstance(found, Examined)
    return () if found.explained is None else found.explained.findings


PLACES: dict[str, Any] = {
    "chat": chat,
    "tool": lambda *texts: chat(*texts, role="tool"),
    "system": lambda *texts: {"system": [{"type": "text", "text": text} for text in texts], "messages": []},
    "messages tool result": lambda *texts: {
        "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": text} for text in texts]}]}]
    },
    "responses": lambda *texts: {"input": [{"role": "user", "content": [{"type": "input_text", "text": text} for text in texts]}]},
    "gemini": lambda *texts: {"contents": [{"parts": [{"text": text} for text in texts]}]},
}  # fmt: skip


@pytest.mark.parametrize("rails", [rule(action="reject"), topic(words=["project bluebird"], action="reject"), topic(keywords=["project bluebird"], action="reject")])  # fmt: skip
@pytest.mark.parametrize("place", PLACES)
def test_a_phrase_in_parts_is_refused_at_what_has_them(place: str, rails: Any) -> None:
    for texts in (
        ("about project", " bluebird, please"),
        ("about proj", "ect bluebird"),
        ("project\n", "bluebird"),
        ("project", "bluebird"),  # Nobody who reads them takes them for one word.
        ("p", "r", "o", "j", "e", "c", "t", " ", "b", "l", "u", "e", "b", "i", "r", "d"),
    ):
        refused = asked(PLACES[place](*texts), rails)
        assert isinstance(refused, Refused), texts
        assert refused.code == "content_blocked"
        assert refused.param
        assert sum(refused.findings.values()) == 1
        assert "bluebird" not in refused.message
        assert isinstance(asked(PLACES[place]("about project", " redbird"), rails), Examined)


@pytest.mark.parametrize(("texts", "left"), [
    (("about project", " bluebird, please"), ["about X", ", please"]),
    (("project", "bluebird"), ["X", GAP]),
    (("a project", "", " ", "bluebird!"), ["a X", "", GAP, "!"]),
])  # fmt: skip
def test_it_is_replaced_in_the_first_part_and_taken_out_of_the_others(texts: tuple[str, ...], left: list[str]) -> None:
    assert sent(rule(action="replace", replacement="X"), *texts) == left


def test_what_a_rule_masks_comes_back_whole() -> None:
    found = asked(chat("about project", " bluebird"), rule(action="mask"))
    assert isinstance(found, Examined)
    assert list(found.originals.values()) == ["project bluebird"]


@pytest.mark.parametrize("does", ["flag", "alert"])
def test_what_is_only_to_be_known_is_recorded_once_with_its_place_in_what_the_parts_say(does: str) -> None:
    for texts in (("on project", " bluebird", " now"), ("on project", " blue", "bird")):
        assert why(rule(action=does), *texts) == (
            Explanation(
                guard="rules",
                kind="rule",
                action=does,
                rule="projects",
                path="messages[0].content",
                start=3,
                end=19,
                via=("parts",),
            ),
        )
    (one,) = why(rule(action=does), "on", "project", "bluebird")
    assert (one.start, one.end) == (2, 17)  # The space is none of theirs.
    assert sent(rule(action=does), "on project", " bluebird") == ["on project", " bluebird"]


def test_what_is_whole_in_a_part_is_found_there_and_does_not_grow() -> None:
    rails = rule(r"PRJ-\d+", action="replace", replacement="X")
    assert sent(rails, "of PRJ-12", "34 apples and PRJ-", "7") == ["of X", "34 apples and X", GAP]
    (one,) = why(rule(r"PRJ-\d+"), "of PRJ-12", "34 apples")
    assert (one.path, one.via) == ("messages[0].content[0].text", ())


def test_a_rule_is_about_the_texts_of_its_roles_in_parts_too() -> None:
    rails = rule(action="reject", roles=["tool"])
    assert isinstance(asked(chat("project", " bluebird"), rails), Examined)
    assert isinstance(asked(chat("project", " bluebird", role="tool"), rails), Refused)


def test_the_beginning_and_the_end_of_a_text_are_not_at_a_seam_of_what_they_say_together() -> None:
    assert why(rule("^b.d"), "a", "b", "cd") == ()
    assert [one.path for one in why(rule("^b.d"), "b", "cd")] == ["messages[0].content"]
    assert why(rule("b.d$"), "b", "cd", "e") == ()


def test_a_value_beside_a_phrase_stays_masked() -> None:
    for does in ("flag", "replace", "mask"):
        (masked,) = sent(rule(), MAIL)
        first, second = sent(rule(r"project \S+ bluebird", action=does), f"{MAIL} and project {MAIL}", " bluebird")
        assert first.startswith(f"{masked} and ")
        assert MAIL not in first + second
    assert sent(rule(r"project ada", action="replace"), "project ", MAIL) == ["[RULE_REDACTED]", masked]


@pytest.mark.parametrize("cut", range(1, len("account number 1234 pin 9876")))
def test_of_what_reaches_beyond_a_longer_match_nothing_goes_on(cut: int) -> None:
    rails = {
        "rules": [
            {"name": "a", "pattern": r"account number \d{4}", "action": "replace", "replacement": "A"},
            {"name": "b", "pattern": r"\d{4} pin \d{4}", "action": "replace", "replacement": "B"},
        ]
    }
    text = "account number 1234 pin 9876"
    assert "".join(sent(rails, text[:cut], text[cut:])).removesuffix(GAP) == "AB"


def test_what_nobody_says_is_not_joined() -> None:
    body = {"contents": [{"parts": [{"text": "project", "thought": True}, {"text": " bluebird"}]}]}
    assert isinstance(asked(body, rule(action="reject")), Examined)
    body = {"messages": [{"role": "user", "content": "project"}, {"role": "assistant", "content": " bluebird"}]}
    assert isinstance(asked(body, rule(action="reject")), Examined)


def test_a_rule_that_is_slow_on_what_the_parts_say_is_tried_elsewhere() -> None:
    body = chat("a" * 10_000, "." * 200 + "b")
    seen = examine_within(INLINE_WORK_MAX, order(body, rule("a.{200}b", action="reject")), RING, FakeClock())
    assert seen is None
    assert isinstance(asked(body, rule("a.{200}b", action="reject")), Refused)


WORDS = st.sampled_from(["project ", "bluebird", " ", "blue", "bird", "x", MAIL, "\n", "é"])


@given(st.lists(st.lists(WORDS, max_size=3).map("".join), min_size=1, max_size=6))
def test_what_a_rule_finds_in_one_text_it_finds_however_that_is_cut(texts: list[str]) -> None:
    whole = asked({"messages": [{"role": "user", "content": "".join(texts)}]}, rule(action="reject"))
    if isinstance(whole, Refused):
        assert isinstance(asked(chat(*texts), rule(action="reject")), Refused)
    said = "".join(sent(rule(action="replace", replacement="X"), *texts))
    assert isinstance(asked(chat(said), rule(action="reject")), Examined)
    assert MAIL not in said


def link(**more: Any) -> Any:
    return {"links": more}


def test_an_address_in_several_parts_is_one() -> None:
    denied = link(denied=["evil.example"], action="reject")
    for texts in (
        ("see https://evil.", "example/x?d=1 now"),
        ("see htt", "ps://evil.example/x"),
        ("see https://", "evil.example"),
        ("see ev", "il.exam", "ple for more"),
    ):
        for place in PLACES.values():
            assert isinstance(asked(place(*texts), denied), Refused), texts
    only = link(only_allowed=True, allowed=["good.example"], action="replace", replacement="(no link)")
    assert sent(only, "see https:/", "/evil.example/x and go") == ["see (no link)", " and go"]
    assert sent(link(schemes=["https"], action="replace", replacement="-"), "see ftp:", "//a.example/x") == [
        "see -",
        GAP,
    ]


def test_what_follows_an_address_is_no_part_of_it() -> None:
    only = link(only_allowed=True, allowed=["good.example"], action="reject")
    for texts in (
        ("see https://good.example", "for more"),
        ("see https://good.example/a", "https://good.example/b"),
        ("good", "will"),
    ):
        assert isinstance(asked(chat(*texts), only), Examined), texts
    for rest in (".evil.example", "@evil.example/x", ":x@evil.example", "-evil.example"):
        assert isinstance(asked(chat("see https://good.example", rest), only), Refused), rest
    denied = link(denied=["evil.example"], action="reject")
    assert isinstance(asked(chat("see https://good.example/evil", ".example"), denied), Examined)
    assert isinstance(asked(chat("see https://good.example", ".evil.example"), denied), Refused)
