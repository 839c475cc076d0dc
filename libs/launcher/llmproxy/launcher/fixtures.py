"""Files of what a policy is expected to do, and how what it did is reported."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

import msgspec
import yaml
from msgspec import Struct

from llmproxy.common.config_file import Loader
from llmproxy.common.envelope import Api
from llmproxy.common.mistakes import explained
from llmproxy.launcher import exits

if TYPE_CHECKING:
    from llmproxy.shield.trial import Outcome

FIXTURES_BYTES_MAX = 16 << 20
UNPRINTABLE = {code: None for code in range(32) if code not in (9, 10, 13)} | {0xFFFE: None, 0xFFFF: None}
"""What XML cannot hold."""


Role = Literal["user", "assistant", "tool", "definition", "system", "parameter"]
Direction = Literal["request", "response"]


class Circumstances(Struct, frozen=True, kw_only=True):
    """Whose text it is, and in which request: what decides the policy that applies."""

    role: Role = "user"
    direction: Direction = "request"
    tenant: str = "default"
    key: str = ""
    principal: str = ""
    roles: tuple[str, ...] = ()
    api: Api = "chat"
    model: str = ""


class Expected(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is not named here may be anything."""

    verdict: Literal["allow", "flag", "mask", "block"] | None = None
    kinds: tuple[str, ...] | None = None  # All of them, in any order.
    masked: str | dict[str, str] | None = None  # The text as it goes on; of a body, by path.
    code: str | None = None


class Test(Circumstances, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One text or body, whose it is, and what is expected."""

    __test__ = False  # None of pytest's.

    name: str = ""
    text: str | None = None
    body: dict[str, Any] | None = None
    expect: Expected

    def problem(self) -> str:
        """What types cannot say."""
        if (self.text is None) == (self.body is None):
            return "give text or body, one of them"
        if self.direction == "response" and self.text is None:
            return "a response is a text, not a body"
        if self.direction == "response" and self.expect.masked is not None:
            return "masked is of requests"
        if self.expect == Expected():
            return "expect is empty; name a verdict, kinds, masked or code"
        if isinstance(self.expect.masked, dict) != (self.body is not None) and self.expect.masked is not None:
            return "masked is a text for a text, and path: text for a body"
        return ""


class Fixtures(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file: tests, and the policy they are about unless the command names another."""

    policy: str | dict[str, Any] | None = None  # A file beside this one, or the policy itself.
    tests: tuple[Test, ...]


class Result(Struct, frozen=True, kw_only=True):
    """What became of one test. No problems: it is as expected."""

    file: str
    name: str
    problems: tuple[str, ...] = ()


def load(file: Path) -> Fixtures:
    """Raises Failure, which names the file, the test and the fix."""
    try:
        if file.stat().st_size > FIXTURES_BYTES_MAX:
            raise exits.Failure(f"{file}: is larger than {FIXTURES_BYTES_MAX >> 20} MiB; split it", exits.USAGE)
        tree = yaml.load(file.read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506 - it is a SafeLoader
        fixtures = msgspec.convert(tree, Fixtures)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise exits.Failure(f"{file}: not valid YAML{where}", exits.USAGE) from error
    except UnicodeDecodeError as error:
        raise exits.Failure(f"{file}: is not UTF-8 at byte {error.start}", exits.USAGE) from error
    except msgspec.ValidationError as error:
        raise exits.Failure(f"{file}: {explained(str(error), tree, Fixtures)}", exits.USAGE) from error
    except RecursionError as error:
        raise exits.Failure(f"{file}: nested too deeply", exits.USAGE) from error
    if not fixtures.tests:
        raise exits.Failure(f"{file}: tests: holds none; write one, or remove the file", exits.USAGE)
    for number, test in enumerate(fixtures.tests, 1):
        if wrong := test.problem():
            raise exits.Failure(f"{file}: {called(test, number)}: {wrong}", exits.USAGE)
    return fixtures


def called(test: Test, number: int) -> str:
    return test.name or f"test {number}"


def unmet(test: Test, outcome: "Outcome", text_path: str) -> tuple[str, ...]:
    """What is not as expected, in words; `text_path` is where the text of a test without a body stands."""
    expected, problems = test.expect, []
    if expected.verdict is not None and outcome.verdict != expected.verdict:
        reason = f" ({outcome.code})" if outcome.code else ""
        problems.append(f"the verdict is {outcome.verdict}{reason}, expected {expected.verdict}")
    if expected.code is not None and outcome.code != expected.code:
        problems.append(f"the code is {outcome.code or 'none'}, expected {expected.code}")
    if expected.kinds is not None and set(outcome.kinds) != set(expected.kinds):
        problems.append(f"the kinds are {_listed(outcome.kinds)}, expected {_listed(expected.kinds)}")
    wanted = expected.masked if isinstance(expected.masked, dict) else {text_path: expected.masked}
    for path, text in wanted.items():
        goes_on = outcome.texts.get(path, test.text)
        if text is not None and goes_on != text:
            problems.append(f"{path} goes on as {'it came' if goes_on is None else repr(goes_on)}, expected {text!r}")
    return tuple(problems)


def _listed(kinds: Iterable[str]) -> str:
    return ", ".join(sorted(kinds)) or "none"


def as_text(results: Sequence[Result]) -> str:
    lines: list[str] = []
    file = ""
    for one in results:
        if one.file != file:
            file = one.file
            lines.append(file)
        lines.append(f"  {'FAIL' if one.problems else 'ok  '}  {one.name}")
        lines += (f"          {problem}" for problem in one.problems)
    failed = sum(bool(one.problems) for one in results)
    return "\n".join([*lines, f"{len(results) - failed} as expected, {failed} not"])


def as_json(results: Sequence[Result]) -> str:
    failed = sum(bool(one.problems) for one in results)
    found: Mapping[str, Any] = {"passed": len(results) - failed, "failed": failed, "results": results}
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def as_junit(results: Sequence[Result]) -> str:
    """What CI systems read: a suite for each file."""
    root = ElementTree.Element("testsuites")
    for file in dict.fromkeys(one.file for one in results):
        own = [one for one in results if one.file == file]
        failed = sum(bool(one.problems) for one in own)
        suite = ElementTree.SubElement(root, "testsuite", name=file, tests=str(len(own)), failures=str(failed))
        for one in own:
            case = ElementTree.SubElement(suite, "testcase", classname=file, name=one.name.translate(UNPRINTABLE))
            if one.problems:
                said = "\n".join(one.problems).translate(UNPRINTABLE)
                ElementTree.SubElement(case, "failure", message=one.problems[0].translate(UNPRINTABLE)).text = said
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


FORMATS = {"text": as_text, "json": as_json, "junit": as_junit}
