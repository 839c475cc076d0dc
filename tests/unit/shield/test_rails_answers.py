"""Operators' rails in what comes back: taken out or ended there, streamed and whole with the same result."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmproxy.common.policy import Policy
from llmproxy.common.rails import Rule, sources
from llmproxy.common.testing import FakeClock
from llmproxy.shield.answers.asked import NOTHING
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.rails import BLOCK_CHARS
from llmproxy.shield.answers.read import Read
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.answers.stage import Stopped
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.rails.expressions import SLOW_FOR_S, SLOW_NS, Expressions
from llmproxy.shield.window import Originals


def guards_of(**rails: Any) -> Guards:
    return Guards(GUARDS, msgspec.convert({"rails": rails}, Policy))


def rule(pattern: str, name: str = "r", action: str = "replace", **more: Any) -> dict[str, Any]:
    return {"name": name, "pattern": pattern, "action": action, **more}


def play(
    guards: Guards, pieces: list[str], *, in_json: bool = False
) -> tuple[str, dict[str, int], list[tuple[str, str]]]:
    """What is said, what was found, and by which rules; "stopped" when the answer was ended."""
    reading = Reading(guards, NOTHING, Originals({}), clock=lambda: 0.0)
    text = Read(reading, reading.findings.report, in_json=in_json)
    try:
        said = "".join([*(text.push(piece) for piece in pieces), text.flush()])
    except Stopped:
        said = "stopped"
    return said, reading.findings.counts, [(one.rule, one.action) for one in reading.findings.explanations]


def test_a_rule_replaces_in_an_answer_and_is_recorded_by_name() -> None:
    said, counts, why = play(
        guards_of(rules=[rule(r"PRJ-\d{4}", replacement="[project]")]), ["of PRJ-", "1234 and PRJ-12"]
    )
    assert said == "of [project] and PRJ-12"
    assert (counts, why) == ({"answer.rule": 1}, [("r", "redact")])


@pytest.mark.parametrize(("action", "said"), [("reject", "stopped"), ("mask", "[RULE_REDACTED]"), ("flag", "acme"), ("alert", "acme")])  # fmt: skip
def test_an_action_is_the_same_in_an_answer_but_that_nothing_comes_back(action: str, said: str) -> None:
    assert play(guards_of(rules=[rule("acme", action=action)]), ["ac", "me"])[0] == said


def test_a_rule_for_requests_does_not_look_at_answers_and_a_role_is_no_question_there() -> None:
    assert play(guards_of(rules=[rule("acme", direction="request")]), ["acme"])[0] == "acme"
    assert play(guards_of(rules=[rule("acme", roles=["user"])]), ["acme"])[0] == "[RULE_REDACTED]"


def test_what_is_for_answers_alone_is_looked_for_in_answers() -> None:
    assert play(guards_of(rules=[rule("acme", direction="answer")]), ["acme"])[0] == "[RULE_REDACTED]"
    topic = {"name": "t", "words": ["acme"], "action": "replace", "direction": "answer"}
    assert play(guards_of(topics=[topic]), ["of acme"])[0] == "of [TOPIC_REDACTED]"
    links = {"denied": ["acme.example"], "action": "reject", "direction": "answer"}
    assert play(guards_of(links=links), ["https://acme.example/x "])[0] == "stopped"


@pytest.mark.parametrize("size", [1, 3, 7, 100])
@pytest.mark.parametrize(
    ("patterns", "text", "said"),
    [
        ((r"account number \d{4}", r"\d{4} pin \d{4}"), "my account number 1234 pin 9876 ok", "my 01 ok"),
        ((r"ab", r"bc", r"cd"), "xabcdx abc", "x02x 01"),
        ((r"aba",), "ababa", "0ba"),
        ((r"a\d*b", r"\d+bc+"), "a12bcccc c", "01 c"),
        ((r"acct \d{4}", r"4 \w+"), "acct 1234 " + "z" * 90 + " end", "01 end"),
    ],
)
def test_of_matches_that_overlap_nothing_is_said(patterns: tuple[str, ...], text: str, said: str, size: int) -> None:
    rules = [rule(one, f"r{number}", replacement=str(number)) for number, one in enumerate(patterns)]
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert play(guards_of(rules=rules), pieces)[0] == said


OVERLAPPING = (r"ab+", r"b{1,3}c", r"c \d", r"\d+a", r"\ba \w{2,4}", r"c+d*\b")


@settings(max_examples=60)
@given(
    patterns=st.lists(st.sampled_from(OVERLAPPING), min_size=1, max_size=4, unique=True),
    text=st.text("abcd 12", min_size=1, max_size=400),
    data=st.data(),
)
def test_however_matches_overlap_the_pieces_make_no_difference(
    patterns: list[str], text: str, data: st.DataObject
) -> None:
    guards = guards_of(rules=[rule(one, f"r{number}", replacement="") for number, one in enumerate(patterns)])
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=20)) | {0, len(text)})
    assert play(guards, [text[first:last] for first, last in pairwise(cuts)]) == play(guards, [text])


def test_what_is_held_back_is_no_longer_than_the_longest_match() -> None:
    reading = Reading(guards_of(rules=[rule(r"PRJ-\d{4}")], topics=[]), NOTHING, Originals({}), clock=lambda: 0.0)
    read = Read(reading, reading.findings.report, in_json=False)
    for letter in "some words that are no project at all. " * 5:
        read.push(letter)
        assert reading_held(read) <= len("PRJ-1234") + 1


def reading_held(read: Read) -> int:
    return read._stages[-1].held


def test_a_rule_without_a_bound_sees_two_blocks_at_a_time() -> None:
    guards = guards_of(rules=[rule("begin.*end")])
    assert play(guards, ["begin " + "x" * 100 + " end"])[0] == "[RULE_REDACTED]"
    far = "begin " + "x" * 2 * BLOCK_CHARS + " end"
    assert play(guards, [far])[0] == far


def test_what_would_break_a_tools_arguments_ends_the_answer() -> None:
    guards = guards_of(rules=[rule("acme", replacement='a "b"'), rule('x": "y', "s")])
    said = play(guards, ['{"x": "acme"}'], in_json=True)[0]
    assert json.loads(said) == {"x": 'a "b"'}
    assert play(guards, ['{"x": "y"}'], in_json=True)[0] == "stopped"


def test_a_disguised_word_cannot_be_taken_out_of_what_was_said_so_the_answer_ends() -> None:
    guards = guards_of(rules=[rule("acme", replacement="acme inc")])
    assert play(guards, ["of ａｃｍｅ"])[0] == "stopped"
    assert play(guards, list("of acm\u0435 and more"))[0] == "stopped"
    assert play(guards, ["of acme"])[0] == "of acme inc"


@pytest.mark.parametrize(
    ("topic", "said"),
    [({"keywords": ["bluebird"]}, "on [TOPIC_REDACTED]s"), ({"words": ["bluebirds"]}, "on [TOPIC_REDACTED]"), ({"words": ["bluebird"]}, "on bluebirds"), ({"fuzzy": ["bluebirt"]}, "stopped")],
)  # fmt: skip
def test_topics_are_taken_out_of_answers(topic: dict[str, Any], said: str) -> None:
    assert play(guards_of(topics=[{"name": "t", "action": "replace", **topic}]), list("on bluebirds"))[0] == said


@pytest.mark.parametrize(
    "link",
    ["https://evil&#46;net/a", "evil&period;net", "&#104;ttps&colon;&sol;&sol;evil&#46;net", r"https://evil\.net/"],
)
@pytest.mark.parametrize("pieces", [1, 1_000])
def test_links_that_only_markup_reads_are_taken_out_of_answers(link: str, pieces: int) -> None:
    text = f"see [x]({link}) and more"
    said = [text] if pieces == 1 else list(text)
    replaced = play(guards_of(links={"denied": ["evil.net"], "action": "replace"}), said)
    assert replaced[0] == "see [x]([LINK_REDACTED]) and more"
    assert play(guards_of(links={"denied": ["evil.net"], "action": "reject"}), said)[0] == "stopped"
    assert play(guards_of(links={"denied": ["evil.net"]}), said)[0] == text


def test_links_are_taken_out_of_answers() -> None:
    guards = guards_of(links={"denied": ["evil.net"], "action": "replace"})
    assert (
        play(guards, list("see https://evil.net/a and https://good.example"))[0]
        == "see [LINK_REDACTED] and https://good.example"
    )
    assert play(guards_of(links={"denied": ["evil.net"], "action": "reject"}), ["at evil.net"])[0] == "stopped"
    said, counts, why = play(guards_of(links={"denied": ["evil.net"]}), ["at evil.net"])
    assert (said, counts, why) == ("at evil.net", {"answer.link": 1}, [("denied", "flag")])


def test_the_language_of_an_answer_is_looked_at() -> None:
    french = "Le système que vous avez demandé est dans la liste de toutes les choses qui sont pour vous et pour nous."
    guards = guards_of(language={"languages": ["en"], "direction": "both", "action": "reject"})
    assert play(guards, list(french))[0] == "stopped"
    assert play(guards_of(language={"languages": ["en"], "action": "reject"}), [french])[0] == french


def test_without_rails_for_answers_there_is_nothing_of_them_on_the_way_back() -> None:
    for rails in ({}, {"rules": [rule("acme", direction="request")]}):
        guards = guards_of(**rails)
        assert not guards.has_rails
        assert not guards.takings
        assert not guards.rails.guards


PIECES = ["acme", "ac", "me", "acme corp", "a", "m", "corp", " ", "\n", "begin", "end", "x" * 60, "PRJ-", "12", "3456", "é", "\U0001f600", "\ud800", "ａｃｍｅ", "https://evil.net/a", "evil", ".net ", "\"", "\\", "stop", ".", "b" * 130, "bluebird"]  # fmt: skip
MANY = [
    guards_of(
        rules=[rule("acme"), rule("acme corp", "s", replacement="C"), rule(r"PRJ-\d{3,6}\b", "p"), rule("(?m)^stop", "t")]
    ),
    guards_of(rules=[rule("begin.*end"), rule("a[^ ]+e", "s", "flag"), rule("(?s)x{3,}.*b", "t")]),
    guards_of(rules=[rule("acme corp", action="reject"), rule("^a|e$", "s")]),
    guards_of(
        topics=[{"name": "t", "words": ["acme", "é"], "keywords": ["corp"], "fuzzy": ["bluebirb"], "action": "replace"}],
        links={"denied": ["evil.net"], "action": "replace"},
    ),
]  # fmt: skip


@pytest.mark.parametrize("which", range(len(MANY)))
@settings(max_examples=60)
@given(text=st.lists(st.sampled_from(PIECES), max_size=14).map("".join), data=st.data(), in_json=st.booleans())
def test_whatever_the_pieces_rails_find_and_say_the_same(
    which: int, text: str, data: st.DataObject, in_json: bool
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    pieces = [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]
    whole = play(MANY[which], [text], in_json=in_json)
    for cut in (pieces, list(text)):
        said, counts, why = play(MANY[which], cut, in_json=in_json)
        assert said == whole[0]
        if said != "stopped":
            assert (counts, sorted(why)) == (whole[1], sorted(whole[2]))


# -- expressions that a text can be written for that holds a loop


@pytest.mark.parametrize("pattern", ["a.{200}b", "(?:a|b.{100}c.{90}d)", "a[^z]{999}b", "(a.{30}){6}b"])
@pytest.mark.parametrize("action", ["replace", "flag"])
def test_an_answer_is_read_in_a_thread_where_a_rule_could_hold_the_loop(pattern: str, action: str) -> None:
    assert guards_of(rules=[rule(pattern, action=action)]).is_slow


@pytest.mark.parametrize(
    "pattern",
    [r"PRJ-\d{4}", "password.{0,40}reset", r"[\w.]{1,64}@[\w.]{1,64}", r"https?://\S{1,200}", "foo.*bar.*baz"],
)
def test_an_answer_is_read_in_the_loop_where_rules_are_ordinary(pattern: str) -> None:
    assert not guards_of(rules=[rule(pattern)]).is_slow


def test_many_ordinary_rules_and_words_are_still_read_in_the_loop() -> None:
    assert not guards_of(rules=[rule(rf"PRJ-{number}-\d{{4}}", name=f"r{number}") for number in range(60)]).is_slow
    assert not guards_of(topics=[{"name": "t", "words": [f"word{number}" for number in range(900)]}]).is_slow


def test_a_text_that_took_long_after_all_is_the_last_one_in_the_loop() -> None:
    times = iter(range(0, 10**12, 10**9))
    found = Expressions(list(sources(Rule(name="r", pattern="acme"))), clock_ns=lambda: next(times))
    assert not found.is_slow
    found.may_hold("anything")
    assert found.is_slow


def test_after_a_text_that_took_long_the_loop_reads_again_when_none_has_come_for_a_while() -> None:
    long, clock = 2 * SLOW_NS, FakeClock()
    spent = iter((0, long, long, 2 * long, 2 * long, 2 * long))  # Before and behind each text.
    found = Expressions(list(sources(Rule(name="r", pattern="acme"))), clock_ns=lambda: next(spent), now=clock)
    for text in ("one that takes long", "another one", "one like any other"):
        found.may_hold(text)
        assert found.is_slow
        clock.advance(SLOW_FOR_S - 1)
    clock.advance(2)
    assert not found.is_slow


def test_an_expression_that_is_slow_by_itself_is_so_at_any_time() -> None:
    clock = FakeClock()
    found = Expressions(list(sources(Rule(name="r", pattern="a.{200}b"))), now=clock)
    clock.advance(10 * SLOW_FOR_S)
    assert found.is_slow
