"""What a fake says, written in a file: rules, tried from the top; the first whose conditions all hold answers.

rules:
  - when: {says: weather}              # a regular expression in the last user text, upper and lower case alike
    call: [{tool: weather, arguments: {city: Zurich}}]
  - when: {result_of: weather}         # the tool whose result the model has just been given
    text: "The weather service says: {result}"
  - when: {model: "gpt-*"}
    status: 429                        # fails, with the vendor's own error body
    retry_after: 2
    times: 3                           # then the rule is spent
  - text: "I have nothing to say."     # no conditions: always
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from llmproxy.fakes.conversation import Asked, Mind, Saying


class ScriptError(Exception):
    """The file cannot be used. The message names the place and the fix."""


class Call(Struct, frozen=True, forbid_unknown_fields=True):
    tool: str
    arguments: dict[str, Any] = {}


class When(Struct, frozen=True, forbid_unknown_fields=True):
    """Conditions; those that are given must all hold."""

    says: str = ""
    model: str = ""
    result_of: str = ""
    turn: int = 0  # Which turn of the model it is, from 1.
    stream: bool | None = None


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    when: When = When()
    times: int = 0  # How often it answers; 0: always.
    text: str | None = None  # May hold {said}, {result}, {turn} and {model}.
    call: list[Call] = []
    reasoning: str = ""
    finish: str = ""  # The vendor's own word.
    status: int = 0
    message: str = "the script says so"
    retry_after: int | str = ""  # Seconds, or a date as HTTP writes it.
    chunk_delay_ms: int = 0
    break_after: int | None = None  # Events of a stream after which the connection is cut.
    error_after: int | None = None  # … after which an error is sent in-band.


class Rules(Struct, frozen=True, forbid_unknown_fields=True):
    rules: list[Rule]


def parse(text: str) -> Mind:
    """YAML, or JSON, to what answers by it. Raises ScriptError."""
    try:
        found = msgspec.convert(yaml.safe_load(text), Rules)
        return Answers([Entry(rule, re.compile(rule.when.says, re.IGNORECASE)) for rule in found.rules])
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        number = mark.line + 1 if mark is not None else 0
        raise ScriptError(f"not valid YAML, at line {number}") from None
    except msgspec.ValidationError as error:
        raise ScriptError(f"{error}; see the example in `llmproxy fake-provider --help`") from None
    except re.error as error:
        raise ScriptError(f"when.says is not a regular expression: {error.msg}") from None


@dataclass
class Entry:
    rule: Rule
    says: re.Pattern[str]
    used: int = field(default=0)

    def holds(self, asked: Asked) -> bool:
        when = self.rule.when
        return (
            not (self.rule.times and self.used >= self.rule.times)
            and self.says.search(asked.said) is not None
            and (not when.model or fnmatchcase(asked.model, when.model))
            and (not when.result_of or any(result.name == when.result_of for result in asked.results))
            and when.turn in (0, asked.number)
            and when.stream in (None, asked.stream)
        )


class Answers:
    """The rules of one file, and how often each has answered."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries

    def __call__(self, asked: Asked) -> Saying | None:
        for entry in self._entries:
            if entry.holds(asked):
                entry.used += 1
                return saying(entry.rule, asked)
        return None


FAULTS: dict[str, Callable[[Rule], Any]] = {
    "status": lambda rule: rule.status,
    "message": lambda rule: rule.message,
    "retry_after": lambda rule: str(rule.retry_after),
    "chunk_delay_s": lambda rule: rule.chunk_delay_ms / 1000,
    "break_after": lambda rule: rule.break_after,
    "error_after": lambda rule: rule.error_after,
}


def saying(rule: Rule, asked: Asked) -> Saying:
    result = "; ".join(one.text for one in asked.results)
    words = {"said": asked.said, "result": result, "turn": str(asked.number), "model": asked.model}
    text = rule.text
    if text is not None:
        text = re.sub(r"\{(said|result|turn|model)\}", lambda found: words[found[1]], text)
    return Saying(
        text=text,
        reasoning=rule.reasoning,
        calls=tuple((call.tool, call.arguments) for call in rule.call),
        finish=rule.finish,
        faults={name: value(rule) for name, value in FAULTS.items()},
    )
