"""Rules of a script file: which one answers, what it says, and what a bad file is told."""

import json

import pytest

from llmproxy.fakes.conversation import Asked, ToolResult, Turn
from llmproxy.fakes.scripts import ScriptError, parse

HELLO = Asked("gpt-5", turns=(Turn("user", "Hello, what is the Weather?"),))


def told(result: str) -> Asked:
    return Asked(
        "gpt-5", turns=(*HELLO.turns, Turn("assistant"), Turn("user", results=(ToolResult("1", "weather", result),)))
    )


def test_the_first_rule_whose_conditions_hold_answers() -> None:
    mind = parse("rules: [{when: {says: absent}, text: a}, {when: {says: weather, turn: 1}, text: b}, {text: c}]")
    said = mind(HELLO)
    assert said is not None
    assert said.text == "b"


def test_a_conversation_is_scripted_turn_by_turn() -> None:
    mind = parse(
        """
        rules:
          - when: {result_of: weather}
            text: "It is {result} on turn {turn}."
          - call: [{tool: weather, arguments: {city: Zurich}}]
        """
    )
    first, second = mind(HELLO), mind(told("18"))
    assert first is not None
    assert second is not None
    assert first.calls == (("weather", {"city": "Zurich"}),)
    assert second.text == "It is 18 on turn 2."


@pytest.mark.parametrize("retry_after", [2, "2"])
def test_a_rule_is_spent_after_its_times(retry_after: int | str) -> None:
    mind = parse(json.dumps({"rules": [{"status": 429, "retry_after": retry_after, "times": 2}]}))
    failed = [mind(HELLO) for _ in range(3)]
    assert [said.faults["status"] if said else None for said in failed] == [429, 429, None]
    assert failed[0] is not None
    assert failed[0].faults["retry_after"] == "2"


def test_what_is_put_in_is_not_read_as_a_template() -> None:
    said = parse('rules: [{text: "{result} {said} {other}"}]')(told("{said}"))
    assert said is not None
    assert said.text == "{said} Hello, what is the Weather? {other}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rules: [", "line"),
        ("rules: [{txt: a}]", "txt"),
        ("rules: [{when: {says: '('}}]", "regular expression"),
        ("[]", "object"),
        ("rules: [{times: many}]", "times"),
    ],
)
def test_a_bad_file_is_told_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ScriptError, match=says):
        parse(text)
