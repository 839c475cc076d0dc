"""Reads one answer, event by event: what the policy takes out of its texts is taken out, the rest is known, then unmasked.

The provider's words are inspected before the originals are put back: what was masked in the request is no finding.
"""

import re
from collections.abc import Callable, Container, Hashable, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any

from msgspec.json import encode

from llmproxy.common.segments import Segment
from llmproxy.common.segments.names import KNOWN_KEYS
from llmproxy.shield.answers import leak
from llmproxy.shield.answers.aloud import Aloud, values
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.findings import Findings
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.looks import Looks
from llmproxy.shield.answers.measures import FORMS, PLAIN_NAME_CHARS, TOKENS, is_measure, is_plain
from llmproxy.shield.answers.names import CALLED, CALLS, DRAWING, DRAWN, ECHOED, IN_JSON, is_no_text, name_of
from llmproxy.shield.answers.read import Observed, Read
from llmproxy.shield.answers.said import is_long
from llmproxy.shield.answers.stages import Carried, new_leak
from llmproxy.shield.answers.together import ALTERNATIVES, together
from llmproxy.shield.chain import Budget
from llmproxy.shield.restore.held import Steps, Text
from llmproxy.shield.restore.whole import ARGUMENTS, THOUGHTS, decoded, rewritten, written
from llmproxy.shield.vault import PLACEHOLDER, check_growth, unmask
from llmproxy.shield.window import Originals

REPEATED_MAX, REPEATED_CHARS_MAX = 64, 256 << 10
"""Texts of an answer that comes in pieces and is then repeated whole; beyond them what is repeated is found again."""

TEXTS = re.compile(r'"text"\s*:\s*"')
"""How a text stands that is one of several: the parts of a message, the blocks of an answer."""

ECHO_BYTES = 16

NO_TEXTS: Mapping[str, str] = {}
OPENED_MAX = 4
"""Texts of a stream that are read in the loop: of each, two thousand characters may wait to be looked at until all of them end."""

SLOW_S = 0.003
"""For one event. An answer of which one has taken so long says something dear to look at, and is likely to go on with it."""

CARRIED_MAX = 64  # Runs of texts that an answer may have going; of more, the oldest begins anew.


class Reading:
    """One answer. Raises `Stopped` and `Unavailable`."""

    __slots__ = (
        "_alouds",
        "_becoming",
        "_began",
        "_carried",
        "_clock",
        "_guards",
        "_is_slow",
        "_key",
        "_opened",
        "_repeated",
        "_repeated_chars",
        "_says",
        "_together",
        "choice",
        "findings",
        "is_repeated",
        "looks",
        "may_be_slow",
        "originals",
        "request",
        "unmasks",
    )  # fmt: skip

    def __init__(
        self,
        guards: Guards,
        request: Asked,
        originals: Originals,
        *,
        clock: Callable[[], float],
        is_repeated: bool = False,
        key: bytes = b"",
    ) -> None:
        """`key`: the tenant's, for the marks of what is hashed and for what is remembered."""
        answers = guards.policy.answers
        for_leaks = answers.leak != "disabled" and bool(request.system)
        self.findings, self.looks = Findings(), Looks(guards, answers, request, key, for_leaks)
        self.request, self.originals, self.is_repeated = request, originals, is_repeated
        self.unmasks = bool(originals.in_text)
        self.choice: Hashable = 0  # Of several, whose texts come now.
        # Where something is looked for that may be in several texts: what each choice says.
        self._alouds: dict[Hashable, Aloud] | None = {} if request.canary or for_leaks else None
        self._guards, self._clock, self._key = guards, clock, key
        self._says: blake2b | None = None  # What echoes are remembered beside: the same for all of this request.
        # Where a request is long, so is the way to the first thing that it is asked.
        self._opened, self._began, self._is_slow = 0, 0.0, is_long(request)
        self.may_be_slow = guards.has_expressions or self._is_slow  # Whether it is worth asking.
        self._repeated: dict[str, str] = {}
        self._repeated_chars = 0
        self._carried: dict[Hashable, Carried] = {}  # Of the last text of those that readers put together.
        # Texts of one event that readers put together, and by path what becomes of each.
        self._together: Container[str] = NO_TEXTS
        self._becoming: Mapping[str, str] = NO_TEXTS

    @property
    def is_slow(self) -> bool:
        return self._is_slow or self._opened > OPENED_MAX or self._guards.is_slow

    @property
    def aloud(self) -> Aloud | None:
        """What all the texts of this choice say."""
        if self._alouds is None or not self.findings.is_counting:
            return None
        found = self._alouds.get(self.choice)
        if found is None:
            if len(self._alouds) >= CARRIED_MAX:
                self._alouds.clear()
            found = self._alouds[self.choice] = Aloud(
                self.request.canary, partial(new_leak, self.looks), self.looks.says_no_system_text, self.findings.report
            )
        return found

    def begin(self) -> None:
        """An event comes: from now on the guards have their time for it."""
        self._began = self._clock()
        self.looks.budget = Budget(self._began + self._guards.policy.guard_timeout_ms / 1000, self._clock)

    def end(self) -> None:
        """It is read, and the answer goes on."""
        if self._clock() - self._began > SLOW_S:
            self._is_slow = self.may_be_slow = True

    # -- texts

    def open(
        self, *, in_json: bool = False, is_signed: bool = False, follows: Hashable = None, place: Steps = ()
    ) -> Text:
        self._opened += 1
        if self._opened > OPENED_MAX:
            self.may_be_slow = True
        if is_signed:
            return Observed(self, self.aloud, place)
        return Read(self, self.findings.report, in_json=in_json, follows=follows, aloud=self.aloud, place=place)

    def text(self, text: str) -> str:
        return self._through(text, in_json=False)

    def stays(self, text: str) -> bool:
        return self.is_clear(text, in_json=False)

    def is_prose(self, text: str) -> bool:
        return not self.unmasks and self._guards.is_prose(text) and self._is_none_of_ours(text)

    def words(self, text: str) -> str:
        return unmask(text, self.originals.in_text)

    def value(self, key: str, value: Any) -> Any:
        if key in FORMS and is_measure(key, value):
            return value
        if key in ECHOED:
            return self._echo(value) if value and self._changes_echo(value) else value
        if key in CALLED and type(value) is dict:
            return self._called(value)
        if type(value) is str:
            return (
                self.words(value)
                if is_no_text(key, value)
                else self._through(value, in_json=False, is_said=key not in CALLS)
            )
        if type(value) is list:
            return [self.value(key, item) for item in value]
        if type(value) is dict:
            return {self.name(name): self.value(name, item) for name, item in value.items()}
        return value

    def name(self, name: str) -> str:
        if is_plain(name):
            return name
        if name in self._guards.names and not self.request.canary and self.looks.says_no_system_text(name):
            return name
        before = self._judged
        said = self._through(name, in_json=False, is_said=False)
        if said == name and name.isidentifier() and self._judged == before and self.findings.is_counting:
            self._guards.names.add(name)
        return said

    def whole(self, event: bytes) -> bytes:
        text = written(event)
        is_masked = self.unmasks and (PLACEHOLDER.search(text) is not None or "\\u005" in text)
        if is_masked:
            check_growth(text, self.originals.in_text)
        self.findings.tree = tree = decoded(event)
        is_changed = text.count('"text"') > 1 and len(TEXTS.findall(text)) > 1 and self._changes_together(tree)
        try:
            if not (self._changes(tree, "") or is_changed or is_masked):
                return event
            self.findings.is_counting = False
            return rewritten(event, text, tree, self._becomes, shortest=1)
        finally:
            self.findings.is_counting = True
            self._together, self._becoming, self.findings.tree = NO_TEXTS, NO_TEXTS, None

    def _changes_together(self, tree: Any) -> bool:
        """Texts that readers put one behind the other may hold in several what none of them holds: they are read as they follow."""
        read: set[str] = set()
        becoming: dict[str, str] = {}
        is_changed = False
        for texts in together(tree):
            said = texts.values()
            if self.is_repeated and all(text in self._repeated for text in said):
                continue
            read.update(said)
            if self.is_clear("".join(said), in_json=False) and all(self.is_clear(one, in_json=False) for one in said):
                becoming |= texts
                continue
            for path, text in texts.items():
                one = Read(self, self.findings.report, in_json=False, follows=self, place=text)
                becoming[path] = one.push(text) + one.flush()
                is_changed |= becoming[path] != text
                if one.tells_all and (aloud := self.aloud) is not None:
                    aloud.found = True
            self._carried.pop(self, None)
        self._together, self._becoming = read, becoming
        return is_changed

    def carried(self, follows: Hashable) -> Carried | None:
        """From the text before; nobody else goes on with it."""
        return self._carried.pop(follows, None)

    def carry(self, follows: Hashable, stages: Carried) -> None:
        if len(self._carried) >= CARRIED_MAX:
            self._carried.pop(next(iter(self._carried)))
        self._carried[follows] = stages

    def _changes(self, value: Any, key: str) -> bool:
        """Whether reading any text of a value changes it. Everything is read."""
        if type(value) is str:
            return self._changes_text(value, key)
        if key in CALLED and type(value) is dict:
            return bool(self._called(value) != value)
        changed = False
        if type(value) is dict:
            drawn = DRAWN if value.get("type") == DRAWING else ""
            for name, item in value.items():
                kind = type(item)
                if len(name) > PLAIN_NAME_CHARS or not name.isidentifier():
                    changed |= self.name(name) != name
                if name == drawn:
                    continue
                if kind is str:  # Asked here too, because most of what an answer holds are names.
                    changed |= not is_no_text(name, item) and self._changes_text(item, name)
                elif (kind is dict or kind is list) and item and not (name in FORMS and is_measure(name, item)):
                    changed |= self._changes_echo(item) if name in ECHOED else self._changes(item, name)
        elif type(value) is list:
            for place, item in enumerate(value):
                if key in ALTERNATIVES:
                    self.choice = place
                changed |= self._changes(item, key)
        return changed

    def _changes_text(self, text: str, key: str) -> bool:
        if not text or is_no_text(key, text):
            return False
        if key == "text" and text in self._together:
            self._hear(text, in_json=False)
            return False  # It was read with those around it.
        if key == "thinking":
            observed = Observed(self, self.aloud, text)
            observed.push(text)
            observed.flush()
            return False
        return self._through(text, in_json=key in IN_JSON, is_said=key not in CALLS) != text

    def _becomes(self, segment: Segment) -> str:
        if THOUGHTS.fullmatch(segment.path):
            return segment.text
        if (known := self._becoming.get(segment.path)) is not None:
            return known
        names = segment.path.replace("[", ".").split(".")
        holder = next((name for name in names[:-1] if name in CALLED or name in ECHOED or name in FORMS), "")
        name = name_of(names)
        if segment.form == "number" or (holder in FORMS and name in TOKENS):
            return self.words(segment.text)
        if segment.form == "key":
            return self._named(segment.text) if holder in CALLED else self.name(segment.text)
        if holder in CALLED:
            return self._argument(segment.text)
        if holder in ECHOED:
            return self._echoed(segment.text)
        if is_no_text(name, segment.text):
            return self.words(segment.text)
        return self._through(segment.text, in_json=ARGUMENTS.fullmatch(segment.path) is not None)

    def _called(self, value: Any) -> Any:
        """Arguments of a tool: here no name says that what stands under it is no text."""
        if type(value) is str:
            return self._argument(value)
        if type(value) is list:
            return [self._called(item) for item in value]
        if type(value) is dict:
            return {self._named(name): self._called(item) for name, item in value.items()}
        return value

    @property
    def _judged(self) -> tuple[int, int]:
        """Changes with each finding, and with whatever passes because of what this request says, or this answer has said: no other
        answer may go by that."""
        return sum(self.findings.counts.values()), self.looks.passed

    def _changes_echo(self, value: Any) -> bool:
        """A stream repeats it in several events, and a conversation in all of its turns."""
        request = self.request
        if self.unmasks or request.canary:
            return bool(self._echo(value) != value)
        known, before = self._remembered_as(value), self._judged
        if known in self._guards.echoes:
            return False
        if self._echo(value) != value:
            return True
        if self._judged == before:
            self._guards.echoes.add(known)
        return False

    def _remembered_as(self, value: Any) -> bytes:
        """With the tenant's key. Python's own hash has no key where PYTHONHASHSEED is set: a second value could be made for the
        digest of one that was read."""
        if self._says is None:
            request = self.request
            self._says = blake2b(key=self._key, digest_size=ECHO_BYTES)
            self._says.update(f"{request.definitions}\0{request.system}\0".encode("utf-8", "surrogatepass"))
        known = self._says.copy()
        known.update(encode(value))
        return known.digest()

    def _echo(self, value: Any) -> Any:
        """What repeats the request, or may."""
        if type(value) is str:
            return self._echoed(value)
        if type(value) is list:
            return [self._echo(item) for item in value]
        if type(value) is dict:
            return {self.name(name): self._echo(item) for name, item in value.items()}
        return value

    def _echoed(self, text: str) -> str:
        if self.is_clear(text, in_json=False):
            return text
        said = self.words(text)
        if self.looks.is_defined(said) or self.looks.is_known(said):
            return said
        return self._through(text, in_json=False)

    def _named(self, name: str) -> str:
        """The name of an argument: the caller's tool has it, or the model has made it up."""
        if name in KNOWN_KEYS or self.looks.is_known(name):
            return self.words(name)
        return self._through(name, in_json=False, is_said=False)

    def _argument(self, text: str) -> str:
        return self._through(text, in_json=False, is_value=True)

    def _through(self, text: str, *, in_json: bool, is_value: bool = False, is_said: bool = True) -> str:
        """`is_said`: it may go on where another text ended."""
        known = self._repeated.get(text) if self.is_repeated else None
        if known is not None:
            self.looks.passed += 1  # What was found in it was reported before.
            return known
        is_clear = self.is_clear(text, in_json=in_json)
        read = None if is_clear else Read(self, self.findings.report, in_json=in_json, is_value=is_value, place=text)
        is_told = is_said and self._hear(text, in_json=in_json)
        if read is None:
            return text
        if is_told:
            read.tells_no_more()
        said = read.push(text) + read.flush()
        if read.tells_all and (aloud := self.aloud) is not None:
            aloud.found = True
        return said

    def _hear(self, text: str, *, in_json: bool) -> bool:
        """A text that comes whole; whether the system text was found now."""
        if (aloud := self.aloud) is None:
            return False
        is_told = False
        for said in values(text) if in_json else (text,):
            is_told |= aloud.hear_all(said)
        return is_told

    def keep(self, said: str, becomes: str) -> None:
        """A text that came in pieces and is going to be repeated: what became of it then becomes of it again."""
        if len(self._repeated) < REPEATED_MAX and self._repeated_chars + len(said) <= REPEATED_CHARS_MAX:
            if self._repeated.get(said, said) == said:  # Of two that are alike, what was taken out of one stays out.
                self._repeated[said] = becomes
            self._repeated_chars += len(said)

    def is_clear(self, text: str, *, in_json: bool) -> bool:
        """Whether reading a text would change nothing and find nothing. Most texts are, and to read one costs five times as much."""
        if not (self._is_none_of_ours(text) and self._guards.is_clear(text, in_json=in_json)):
            return False
        budget = self.looks.budget
        return budget is None or self._clock() <= budget.ends_at

    def _is_none_of_ours(self, text: str) -> bool:
        """Nothing is to be put into it, and it betrays nothing."""
        request = self.request
        if request.canary or (self.unmasks and "[" in text):
            return False
        return not self.looks.for_leaks or leak.is_clear(request.system, text)
