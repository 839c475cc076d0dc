"""Operators' rules and topics in requests: what they find, what is done, and what is said of it."""

import json
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmproxy.common.policy import Policies, Policy
from llmproxy.common.rails import Rails, Rule, Topic
from llmproxy.common.segments import Segment
from llmproxy.common.testing import FakeClock, envelope
from llmproxy.shield import preflight
from llmproxy.shield.chain import Chain
from llmproxy.shield.examine import Examined, Order, Refused, examine, examine_within
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.guards.rules import Rules
from llmproxy.shield.guards.topics import Topics
from llmproxy.shield.offload import INLINE_WORK_MAX
from llmproxy.shield.rails import expressions
from llmproxy.shield.rails.fuzzy import Fuzzy, distance
from llmproxy.shield.verdict import Allow, Mask

SECRET_PATTERN = r"PRJ-\d{4}"


def order(body: Any, rails: Any, **more: Any) -> Order:
    policy = msgspec.convert({"injection": {"mode": "disabled"}, "rails": rails, **more}, Policy)
    return Order(body=json.dumps(body, ensure_ascii=False).encode(), policy=policy, key=b"k" * 32, max_depth=64)


def examined(body: Any, rails: Any, **more: Any) -> Examined | Refused:
    return examine(order(body, rails, **more), preflight.pipeline(GUARDS), FakeClock())


def chat(content: str, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": role, "content": content}], **more}


def rule(pattern: str = SECRET_PATTERN, name: str = "projects", **more: Any) -> dict[str, Any]:
    return {"rules": [{"name": name, "pattern": pattern, **more}]}


def topic(**more: Any) -> dict[str, Any]:
    return {"topics": [{"name": "t", **more}]}


def finds(rails: dict[str, Any], text: str) -> list[str]:
    """What is found in a text, as it is written there."""
    policy = Policy(rails=msgspec.convert(rails, Rails))
    guards = [guard for guard in GUARDS if guard.name in ("rules", "topics")]
    verdict = Chain(guards, policy).inspect(Segment(role="user", path="p", text=text))
    return [] if isinstance(verdict, Allow) else [text[one.start : one.end] for one in verdict.findings]


def test_a_rule_replaces_with_its_own_text_and_leaves_the_rest_as_it_is_written() -> None:
    seen = examined(chat('say "PRJ-1234"\tand café'), rule(action="replace", replacement='a "name"'))
    assert isinstance(seen, Examined)
    assert seen.masked is not None
    assert json.loads(seen.masked)["messages"][0]["content"] == 'say "a "name""\tand café'
    assert seen.originals == {}


def test_a_rule_without_a_replacement_says_that_something_was_taken_out() -> None:
    seen = examined(chat("PRJ-1234"), rule(action="replace"))
    assert isinstance(seen, Examined)
    assert b"[RULE_REDACTED]" in (seen.masked or b"")


def test_what_a_rule_masks_comes_back() -> None:
    seen = examined(chat("PRJ-1234"), rule(action="mask"))
    assert isinstance(seen, Examined)
    assert list(seen.originals.values()) == ["PRJ-1234"]


@pytest.mark.parametrize(("action", "recorded"), [("flag", "flag"), ("alert", "alert")])
def test_what_is_only_to_be_known_goes_on_as_it_is(action: str, recorded: str) -> None:
    seen = examined(chat("PRJ-1234"), rule(action=action))
    assert isinstance(seen, Examined)
    assert seen.masked is None
    assert seen.explained is not None
    assert [one.action for one in seen.explained.findings] == [recorded]


def test_a_refusal_and_its_record_say_neither_text_nor_expression() -> None:
    seen = examined(chat("about PRJ-1234"), rule(action="reject"))
    assert isinstance(seen, Refused)
    assert (seen.code, seen.param, seen.findings) == ("content_blocked", "messages[0].content", {"rule": 1})
    said = msgspec.json.encode(seen).decode()
    assert seen.explained is not None
    (why,) = seen.explained.findings
    assert (why.guard, why.rule, why.path, why.start, why.end, why.action) == (
        "rules",
        "projects",
        "messages[0].content",
        6,
        14,
        "block",
    )
    for never in ("PRJ", "1234", r"\d"):
        assert never not in said
    assert "projects" not in seen.message


def test_a_refusal_names_the_rule_where_the_rule_says_so() -> None:
    seen = examined(chat("PRJ-1234"), rule(action="reject", show_name=True))
    assert isinstance(seen, Refused)
    assert "rule.projects" in seen.message


PLACES = {
    "a message": chat("PRJ-1234"),
    "a part": {"messages": [{"role": "user", "content": [{"type": "text", "text": "PRJ-1234"}]}]},
    "a tool's result": chat("PRJ-1234", "tool"),
    "arguments": {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": "PRJ-1234"}'}}]}]},
    "arguments with escapes": {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": "PRJ\\u002d1234"}'}}]}]},
    "system": {"system": "PRJ-1234", "messages": []},
    "Gemini": {"contents": [{"role": "user", "parts": [{"text": "PRJ-1234"}]}]},
    "responses": {"input": [{"type": "function_call_output", "call_id": "c", "output": "PRJ-1234"}]},
    "a key": {"metadata": {"PRJ-1234": "x"}},
    "a definition": {"tools": [{"function": {"name": "f", "description": "PRJ-1234"}}]},
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_rule_replaces_wherever_masking_does(place: str) -> None:
    seen = examined(PLACES[place], rule(action="replace", replacement="X"))
    assert isinstance(seen, Examined)
    assert seen.masked is not None
    assert b"1234" not in seen.masked
    json.loads(seen.masked)


@pytest.mark.parametrize("text", ["PRJ-1234", "ＰＲＪ-1234", "P\u200bRJ-1\u200b234", "PRJ\u20111234", "PRJ-١٢٣٤", r"PRJ\u002d1234"])  # fmt: skip
def test_a_disguise_does_not_get_round_a_rule(text: str) -> None:
    assert finds(rule(action="replace"), f"see {text} now") == [text]


@pytest.mark.parametrize("word", ["Übernahme", "Việt", "ёлка", "ガス", "인수합병", "Ἀθῆναι"])
@pytest.mark.parametrize("form", ["NFD", "NFC"])
def test_a_word_is_found_whether_its_letters_are_written_in_one_piece_or_in_several(word: str, form: Any) -> None:
    written = unicodedata.normalize(form, word)
    for said in {unicodedata.normalize("NFC", word), unicodedata.normalize("NFD", word)}:
        assert finds(topic(words=[written], action="replace"), f"on {said} now") == [said]
        assert finds(topic(keywords=[written], action="replace"), f"on {said} now") == [said]
    composed, apart = unicodedata.normalize("NFC", word), unicodedata.normalize("NFD", word)
    assert finds(rule(composed, action="replace"), f"on {apart} now") == [apart]


@pytest.mark.parametrize(
    "text", ["t\u0430keover bid", "TAKE\u039fVER bid", "takeover \u0432i\u0501", "t\u0430ke\u043ever\u00a0bid"]
)
def test_letters_of_two_alphabets_in_one_word_are_read_as_they_look(text: str) -> None:
    assert finds(topic(words=["takeover bid"], action="replace"), f"the {text} now") == [text]
    assert finds(rule("(?i)over.b", action="replace"), "a \u0440\u043ever b") == ["\u043ever b"]


def test_a_word_of_another_alphabet_is_not_one_that_looks_like_it() -> None:
    assert (
        finds(
            topic(words=["cop"], keywords=["oca"], action="replace"),
            "\u0441\u043e\u0440 \u0440\u043e\u0441\u0430 5 \u03bcg",
        )
        == []
    )
    assert finds(topic(words=["\u0441\u043e\u0440"], action="replace"), "\u0441\u043e\u0440") == ["\u0441\u043e\u0440"]


def test_case_is_ignored_only_if_the_rule_says_so() -> None:
    assert finds(rule("Straße É"), "STRASSE straße é") == []
    assert finds(rule("Straße É", ignore_case=True), "x straße é") == ["straße é"]


def test_a_rule_may_be_about_the_texts_of_some_roles() -> None:
    rails = rule(action="replace", roles=["tool"])
    assert examined(chat("PRJ-1234"), rails).findings == {}
    assert examined(chat("PRJ-1234", "tool"), rails).findings == {"rule": 1}


def test_a_rule_for_answers_does_not_look_at_requests() -> None:
    assert examined(chat("PRJ-1234"), rule(action="replace", direction="answer")).findings == {}


def test_a_rule_holds_at_the_beginning_of_each_text_though_texts_are_looked_at_joined() -> None:
    body = {"messages": [{"role": "user", "content": "hello"}, {"role": "user", "content": "stop here"}]}
    assert examined(body, rule("^stop")).findings == {"rule": 1}
    assert examined(chat("please stop"), rule("^stop")).findings == {}
    assert examined(body, rule("hello$")).findings == {"rule": 1}


def test_a_text_of_few_letters_is_looked_at_and_the_words_of_the_format_are_not() -> None:
    seen = examined(chat("ab"), rule("ab", action="replace", replacement="x"))
    assert isinstance(seen, Examined)
    assert json.loads(seen.masked or b"")["messages"][0]["content"] == "x"
    seen = examined(chat("our user"), rule("user", action="replace", replacement="x"))
    assert isinstance(seen, Examined)
    assert json.loads(seen.masked or b"")["messages"][0] == {"role": "user", "content": "our x"}


def test_of_two_rules_that_overlap_the_longer_match_is_replaced() -> None:
    rails = {
        "rules": [
            {"name": "a", "pattern": "acme", "action": "replace", "replacement": "A"},
            {"name": "b", "pattern": "acme corp", "action": "replace", "replacement": "B"},
        ]
    }
    seen = examined(chat("of acme corp and acme"), rails)
    assert isinstance(seen, Examined)
    assert json.loads(seen.masked or b"")["messages"][0]["content"] == "of B and A"


def test_of_what_reaches_beyond_a_longer_match_nothing_goes_on() -> None:
    rails = {
        "rules": [
            {"name": "a", "pattern": r"account number \d{4}", "action": "replace", "replacement": "A"},
            {"name": "b", "pattern": r"\d{4} pin \d{4}", "action": "replace", "replacement": "B"},
            {"name": "c", "pattern": r"example\.org, please reply", "action": "replace", "replacement": "C"},
        ]
    }
    seen = examined(chat("account number 1234 pin 9876"), rails)
    assert isinstance(seen, Examined)
    assert json.loads(seen.masked or b"")["messages"][0]["content"] == "AB"
    seen = examined(chat("ann@example.org, please reply"), rails)
    assert isinstance(seen, Examined)
    assert b"ann" not in (seen.masked or b"")
    assert seen.findings == {"email": 1, "rule": 1}


def test_more_hits_than_are_counted_are_not_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "HITS_MAX", 3)
    assert isinstance(examined(chat("x1 " * 3), rule(r"x\d", action="replace")), Examined)
    assert isinstance(examined(chat("x1 " * 4), rule(r"x\d", action="replace")), Refused)
    assert isinstance(examined(chat("x1 " * 9), rule(r"x\d", action="flag")), Examined)


def test_an_override_changes_the_rules_for_whom_it_names() -> None:
    policy = msgspec.convert(
        {"rails": rule(), "overrides": [{"when": {"tenants": ["lab"]}, "rails": {"rules": []}}]}, Policy
    )
    policies = Policies(policy)
    assert not policies.of(envelope(tenant="lab")).rails.rules
    assert policies.of(envelope(tenant="acme")).rails.rules


def test_a_rule_that_is_slow_on_a_text_is_tried_elsewhere() -> None:
    def within(content: str, rails: Any) -> Any:
        return examine_within(INLINE_WORK_MAX, order(chat(content), rails), preflight.pipeline(GUARDS), FakeClock())

    heavy = rule("a.{200}b")
    assert isinstance(within("a" + "." * 200 + "b", heavy), Examined)
    assert within("a" * 20_000, heavy) is None or within("a" * 20_000 + "b", heavy) is None
    assert isinstance(within("quite harmless " * 400, rule()), Examined)


def test_without_rails_no_guard_of_them_is_in_the_chain() -> None:
    assert {"rules", "topics", "links", "language"}.isdisjoint(guard.name for guard in Chain(GUARDS, Policy()).guards)


def test_a_policys_expressions_are_compiled_once() -> None:
    rules, policy = Rules(), msgspec.convert({"rails": rule()}, Policy)
    again = msgspec.convert({"rails": rule()}, Policy)  # As it comes from another process.
    assert rules.under(policy) is rules.under(policy) is rules.under(again)


def test_an_automaton_without_memory_lets_every_expression_be_tried() -> None:
    class Exhausted:
        def Match(self, _: bytes) -> list[int]:  # noqa: N802 - RE2's name
            return []

    guard = Rules((Rule(name="r", pattern="acme"),))
    guard.expressions._together = Exhausted()
    assert guard.may_hold("anything")
    assert isinstance(guard.inspect(Segment(role="user", path="p", text="of acme")), Mask)


@given(
    st.lists(st.sampled_from(["acme", "PRJ-1", "é", "\U0001f600", '"', "\\", "\n", " ", "x"]), max_size=12).map("".join)
)  # fmt: skip
@example("é acme \U0001f600 acme")
def test_replacing_changes_nothing_outside_of_what_was_found(text: str) -> None:
    body = json.dumps(chat(text)).encode()
    policy = msgspec.convert(
        {"injection": {"mode": "disabled"}, "rails": rule(r"acme|PRJ-\d|é", action="replace", replacement="<&>")},
        Policy,
    )
    seen = examine(
        Order(body=body, policy=policy, key=b"k" * 32, max_depth=64), preflight.pipeline(GUARDS), FakeClock()
    )
    assert isinstance(seen, Examined)
    wanted = text.replace("acme", "<&>").replace("PRJ-1", "<&>").replace("é", "<&>")
    assert json.loads(seen.masked or body)["messages"][0]["content"] == wanted


RULES = Rules(
    tuple(
        Rule(name=f"r{index}", pattern=pattern, ignore_case=True)
        for index, pattern in enumerate(
            ["acme", "^stop", "end$", r"\bx\d+", r"(?s)a.{1,9}b", r"\pL{3}-", "é+", r"[^a]zz"]
        )
    )
)


@given(st.lists(st.sampled_from(["acme", "stop", "end", "x12", "a", "b", "é", "zz", "-", "\n", " ", "\ud800", "\u200b"]), max_size=8).map("".join))  # fmt: skip
def test_the_pass_over_all_rules_never_misses_what_one_of_them_finds(text: str) -> None:
    segment = Segment(role="user", path="p", text=text)
    found = RULES.inspect(segment)
    one_by_one = [one for one in RULES.expressions.all if one.expression.search(text.encode("utf-8", "replace"))]
    assert isinstance(found, Allow) == (not one_by_one)
    if not isinstance(found, Allow):
        assert RULES.may_hold(text)
        assert RULES.may_hold(f"before\n{text}\nbehind")
        assert {one.rule for one in found.findings} == {one.source.rail.name for one in one_by_one}


@pytest.mark.parametrize(
    ("lists", "text", "found"),
    [
        ({"keywords": ["bluebird"]}, "the Bluebirds sing", ["Bluebird"]),
        ({"keywords": ["project bluebird"]}, "PROJECT\n bluebird", ["PROJECT\n bluebird"]),
        ({"keywords": ["c++ (new)"]}, "use C++ (new)!", ["C++ (new)"]),
        ({"words": ["cat", "category"]}, "a cat, categories, category", ["cat", "category"]),
        ({"words": ["ab", "ab cd"]}, "ab cdx", ["ab"]),
        ({"words": ["war"]}, "warum war's? Krieg/war.", ["war", "war"]),
        ({"words": ["über"]}, "Über überall", ["Über"]),
        ({"words": ["мир"]}, "мир, миром и Мир", ["мир", "Мир"]),
        ({"words": ["a a"]}, "a a a a", ["a a", "a a"]),
        ({"words": ["政治"]}, "关于政治的问题", ["政治"]),
        ({"words": ["ระเบิด"]}, "วิธีทำระเบิดที่บ้าน", ["ระเบิด"]),
        ({"words": ["हिंद"]}, "हिंदी हिंद", ["हिंद"]),
        ({"words": ["東京tower"]}, "東京towers 大東京tower", ["東京tower"]),
        ({"words": ["cat"]}, "c\u200bat", ["c\u200bat"]),
        ({"patterns": [r"merge\w*\s+with"]}, "Merger with", ["Merger with"]),
        ({"fuzzy": ["bomb"]}, "a bmob, bom, booomb bombs", ["bmob", "bom", "bombs"]),
        ({"fuzzy": ["explosive"]}, "exlposivs explosve export", ["exlposivs", "explosve"]),
        ({"fuzzy": ["acquisition"]}, "aquisiton acquisitn acuisitn", ["aquisiton", "acquisitn"]),
        ({"fuzzy": ["взрывчатка"]}, "о взривчатке", ["взривчатке"]),
    ],
)  # fmt: skip
def test_a_topic_is_found_as_its_list_says(lists: dict[str, Any], text: str, found: list[str]) -> None:
    assert finds(topic(**lists), text) == found


def test_a_topic_refuses_by_its_action() -> None:
    seen = examined(chat("on bluebird"), topic(keywords=["bluebird"], action="reject"))
    assert isinstance(seen, Refused)
    assert seen.findings == {"topic": 1}


def test_a_long_text_with_a_fuzzy_list_is_looked_at_elsewhere() -> None:
    policy = topic(fuzzy=["bluebird"])
    long = order(chat("quite harmless words " * 300), policy)
    assert examine_within(INLINE_WORK_MAX, long, preflight.pipeline(GUARDS), FakeClock()) is None
    assert isinstance(examine(long, preflight.pipeline(GUARDS), FakeClock()), Examined)


LETTERS = st.text("abcde", min_size=3, max_size=10)


@given(LETTERS.filter(lambda word: len(word) >= 4), LETTERS)
def test_a_word_is_near_exactly_if_it_is_within_so_many_mistakes(listed: str, word: str) -> None:
    allowed = 2 if len(listed) >= 8 else 1
    is_near = distance(listed, word) <= allowed
    assert Fuzzy([listed]).is_near(word) == is_near
    topics = Topics((Topic(name="t", fuzzy=(listed,)),))
    assert topics.may_hold(f"x {word} y") == is_near
