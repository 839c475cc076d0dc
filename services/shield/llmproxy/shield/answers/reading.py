"""Reads the texts of one answer as they come: what the policy takes out is taken out, the rest is known, then unmasked.

The provider's words are inspected before the originals are put back: what was masked in the request is no finding.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from json import dumps
from typing import Any, NamedTuple, get_args

from msgspec import structs
from msgspec.json import encode

from llmproxy.common import segments
from llmproxy.common.actions import PASSING
from llmproxy.common.answers import ANSWER, REMOVED, AnswerAction, Answers
from llmproxy.common.explanations import Explanation, per_mille
from llmproxy.common.segments import Segment
from llmproxy.common.segments.names import KNOWN_KEYS
from llmproxy.shield.answers import keys, leak
from llmproxy.shield.answers.aloud import Aloud, Values, values
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.canary import Canary
from llmproxy.shield.answers.escapes import Escapes
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.images import Images
from llmproxy.shield.answers.invisible import Invisible
from llmproxy.shield.answers.keys import PrivateKeys
from llmproxy.shield.answers.leak import Leak, words_of
from llmproxy.shield.answers.lines import DIGITS_IN, DOTS_IN, NAMES_BEFORE, Lines
from llmproxy.shield.answers.markup import wants_markup
from llmproxy.shield.answers.measures import FORMS, PLAIN_NAME_CHARS, TOKENS, is_measure, is_plain
from llmproxy.shield.answers.names import CALLED, CALLS, DRAWING, DRAWN, ECHOED, IN_JSON, is_no_text, name_of
from llmproxy.shield.answers.ordinary import Ordinary
from llmproxy.shield.answers.rails import Rails
from llmproxy.shield.answers.sentences import Sentences
from llmproxy.shield.answers.stage import Report, Stage, Stopped, Unavailable
from llmproxy.shield.answers.together import ALTERNATIVES, together
from llmproxy.shield.answers.wanted import wants_random
from llmproxy.shield.answers.watch import Watch
from llmproxy.shield.answers.words import Words
from llmproxy.shield.chain import Budget, Chain
from llmproxy.shield.restore.held import Steps, Text
from llmproxy.shield.restore.whole import ARGUMENTS, THOUGHTS, decoded, rewritten, written
from llmproxy.shield.vault import PLACEHOLDER, check_growth, hashed, unmask
from llmproxy.shield.verdict import Allow, Block, Finding
from llmproxy.shield.window import Originals, Window

REPEATED_MAX, REPEATED_CHARS_MAX = 64, 256 << 10
"""Texts of an answer that comes in pieces and is then repeated whole; beyond them what is repeated is found again."""

TEXTS = re.compile(r'"text"\s*:\s*"')
"""How a text stands that is one of several: the parts of a message, the blocks of an answer."""

CARRIED_MAX = 64  # Runs of texts that an answer may have going; of more, the oldest begins anew.
OF_ANSWERS = frozenset(get_args(AnswerAction))
EXPLANATIONS_MAX = 64  # Of one answer; the record keeps the most severe.
PASSWORD = "secret.password"  # noqa: S105 - the name of a kind
OF_MANY_WORDS = frozenset({PASSWORD, keys.KIND})


class Twice:
    """Two stages read the same text: what the first has reported and left there, the other need not report again."""

    __slots__ = ("_left", "_report")

    def __init__(self, report: Report) -> None:
        self._report = report
        self._left: Counter[str] = Counter()

    def first(self, finding: Finding) -> bool:
        is_taken_out = self._report(finding)
        self._left[finding.kind] += not is_taken_out
        return is_taken_out

    def again(self, finding: Finding) -> bool:
        if self._left[finding.kind]:
            self._left[finding.kind] -= 1
            return False
        return self._report(finding)


class Carried(NamedTuple):
    """What goes on from one text to the next, of those that readers put together."""

    lines: tuple[Stage, ...]  # For what is many lines, and begins wherever its head does.
    shown: tuple[
        Stage, ...
    ]  # For the rest each text is read by itself, too: so it may be shown, and so its first word begins there.
    values: tuple[Stage, ...]
    links: tuple[Stage, ...]
    twice: Twice
    end: str = ""  # Of the text before.


class Reading:
    """One answer. `counts`: what was found, by kind as it is recorded. Raises `Stopped` and `Unavailable`."""

    __slots__ = (
        "_alouds", "_apart", "_budget", "_carried", "_clock", "_guards", "_is_counting", "_key", "_repeated", "_repeated_chars", "_said", "_tree", "_users", "answers",
        "at", "choice", "counts", "explanations", "is_repeated", "may_be_slow", "originals", "request", "unmasks",
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
        """`key`: the tenant's, for the marks of what is hashed."""
        self.counts: dict[str, int] = {}
        self.explanations: list[Explanation] = []
        self.answers: Answers = guards.policy.answers
        self.request, self.originals, self.is_repeated = request, originals, is_repeated
        self.unmasks = bool(originals.in_text)
        self.choice: Hashable = 0  # Of several, whose texts come now.
        # Where something is looked for that may be in several texts: what each choice says.
        self._alouds: dict[Hashable, Aloud] | None = {} if request.canary or self._looks_for_leaks else None
        self._guards, self._clock, self._key = guards, clock, key
        self.may_be_slow = guards.has_expressions  # Whether it is worth asking.
        self._budget: Budget | None = None
        self._is_counting = True
        self._said: str | None = None
        self._users: str | None = None
        self._repeated: dict[str, str] = {}
        self._repeated_chars = 0
        self._carried: dict[Hashable, Carried] = {}  # Of the last text of those that readers put together.
        # Texts of one event that readers put together: by path, each with what becomes of it.
        self._apart: dict[str, tuple[str, str]] = {}
        self.at: Steps | str = ()  # Which text is read: the steps to it or, of one that came whole, the text itself,
        self._tree: Any = None  # which is somewhere in here.

    @property
    def is_slow(self) -> bool:
        return self._guards.is_slow

    @property
    def _looks_for_leaks(self) -> bool:
        return self.answers.leak != "disabled" and bool(self.request.system)

    @property
    def aloud(self) -> Aloud | None:
        """What all the texts of this choice say."""
        if self._alouds is None or not self._is_counting:
            return None
        found = self._alouds.get(self.choice)
        if found is None:
            if len(self._alouds) >= CARRIED_MAX:
                self._alouds.clear()
            found = self._alouds[self.choice] = Aloud(
                self.request.canary, self.leak, self._says_no_system_text, self.report
            )
        return found

    def _says_no_system_text(self, text: str) -> bool:
        return not self._looks_for_leaks or leak.is_clear(self.request.system, text)

    def begin(self) -> None:
        """An event comes: from now on the guards have their time for it."""
        self._budget = Budget(self._clock() + self._guards.policy.guard_timeout_ms / 1000, self._clock)

    # -- texts

    def open(
        self, *, in_json: bool = False, is_signed: bool = False, follows: Hashable = None, place: Steps = ()
    ) -> Text:
        if is_signed:
            return Observed(self, self.aloud, place)
        return Read(self, self.report, in_json=in_json, follows=follows, aloud=self.aloud, place=place)

    def text(self, text: str) -> str:
        return self._through(text, in_json=False)

    def stays(self, text: str) -> bool:
        return self.is_clear(text, in_json=False)

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
        if name in self._guards.names and not self.request.canary:
            return name
        found = sum(self.counts.values())
        said = self._through(name, in_json=False, is_said=False)
        if said == name and name.isidentifier() and sum(self.counts.values()) == found:
            self._guards.names.add(name)
        return said

    def whole(self, event: bytes) -> bytes:
        text = written(event)
        is_masked = self.unmasks and (PLACEHOLDER.search(text) is not None or "\\u005" in text)
        if is_masked:
            check_growth(text, self.originals.in_text)
        self._tree = tree = decoded(event)
        if text.count('"text"') > 1 and len(TEXTS.findall(text)) > 1:
            self._read_together(tree)
        try:
            is_changed = bool(self._apart) and any(text != becomes for text, becomes in self._apart.values())
            if not (self._changes(tree, "") or is_changed or is_masked):
                return event
            self._is_counting = False
            return rewritten(event, text, tree, self._becomes, shortest=1)
        finally:
            self._is_counting = True
            self._apart, self._tree = {}, None

    def _read_together(self, tree: Any) -> None:
        """Texts that readers put one behind the other may hold in several what none of them holds: they are read as they follow."""
        for texts in together(tree):
            said = texts.values()
            if self.is_repeated and all(text in self._repeated for text in said):
                continue
            if self.is_clear("".join(said), in_json=False) and all(self.is_clear(one, in_json=False) for one in said):
                self._apart |= {path: (text, text) for path, text in texts.items()}
                continue
            for path, text in texts.items():
                read = Read(self, self.report, in_json=False, follows=self, place=text)
                self._apart[path] = (text, read.push(text) + read.flush())
                if read.tells_all and (aloud := self.aloud) is not None:
                    aloud.found = True
            self._carried.pop(self, None)

    def carried(self, follows: Hashable) -> "Carried | None":
        """From the text before; nobody else goes on with it."""
        return self._carried.pop(follows, None)

    def carry(self, follows: Hashable, stages: "Carried") -> None:
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
        if self._apart and key == "text" and any(text == one for one, _ in self._apart.values()):
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
        if (known := self._apart.get(segment.path)) is not None:
            return known[1]
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

    def _changes_echo(self, value: Any) -> bool:
        """A stream repeats it in several events, and a conversation in all of its turns."""
        request = self.request
        if self.unmasks or request.canary:
            return bool(self._echo(value) != value)
        known, found = hash((encode(value), request.definitions, request.system)), sum(self.counts.values())
        if known in self._guards.echoes:
            return False
        if self._echo(value) != value:
            return True
        if sum(self.counts.values()) == found:
            self._guards.echoes.add(known)
        return False

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
        return said if self.is_known(said) else self._through(text, in_json=False)

    def _named(self, name: str) -> str:
        """The name of an argument: the caller's tool has it, or the model has made it up."""
        if name in KNOWN_KEYS or self.is_known(name):
            return self.words(name)
        return self._through(name, in_json=False, is_said=False)

    def _argument(self, text: str) -> str:
        return self._through(text, in_json=False, is_value=True)

    def _through(self, text: str, *, in_json: bool, is_value: bool = False, is_said: bool = True) -> str:
        """`is_said`: it may go on where another text ended."""
        known = self._repeated.get(text) if self.is_repeated else None
        if known is not None:
            return known
        is_clear = self.is_clear(text, in_json=in_json)
        read = None if is_clear else Read(self, self.report, in_json=in_json, is_value=is_value, place=text)
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
        request = self.request
        if request.canary or (self.unmasks and "[" in text):
            return False
        if self._looks_for_leaks and not leak.is_clear(request.system, text):
            return False
        if not self._guards.is_clear(text, in_json=in_json):
            return False
        return self._budget is None or self._clock() <= self._budget.ends_at

    # -- what stages ask

    def carrying(self, report: Report, *, in_json: bool) -> Carried:
        """What may be in several texts that readers put together: these stages go on from one to the next."""
        private_key, twice = self._guards.private_key, Twice(report)
        shown = () if in_json else tuple(self.shown(twice.again))
        lines = () if private_key == "allow" else (PrivateKeys(private_key, report),)
        links = tuple(self.links(twice.again, in_json=in_json))
        return Carried(lines, shown, tuple(self.values(twice.again)), links, twice)

    def values(self, report: Report) -> Iterator[Stage]:
        if self._guards.looks_for_secrets:
            yield Words(self.look_for_keys, report)
            yield Lines(NAMES_BEFORE, self.look_for_passwords, report)
        if self._guards.takes_out_others:
            yield Lines(DIGITS_IN, self.look_at_others, report)

    def shown(self, report: Report) -> Iterator[Stage]:
        if self.answers.links.images != "disabled":
            yield Images(self.answers.links, self.is_known_host, report, self.wants_markup)

    def links(self, report: Report, *, in_json: bool) -> Iterator[Stage]:
        if self._guards.takes_out_links:
            yield Lines(DOTS_IN, self.look_for_links_in_json if in_json else self.look_for_links, report)

    def stages(self, report: Report, carried: Carried, *, in_json: bool, is_first: bool) -> list[Stage]:
        guards, stages = self._guards, list[Stage]()
        if in_json:
            stages.append(Escapes())
        if self.answers.invisible != "disabled":
            stages.append(Invisible(self.answers.invisible, report))
        if self.request.canary:
            stages.append(Canary(self.request.canary, report))
        if not is_first and not in_json:
            stages += self.shown(carried.twice.first)
        stages += carried.shown
        stages += carried.lines
        if not is_first:
            stages += self.values(carried.twice.first)
        stages += carried.values
        if not is_first:
            stages += self.links(carried.twice.first, in_json=in_json)
        stages += carried.links
        stages += (Rails(taking, report, in_json=in_json) for taking in guards.takings)
        return stages

    def watch(self, report: Report, ordinary: Ordinary, before: str) -> Watch:
        return Watch(
            self.answers,
            self.look_behind,
            report,
            is_known=self.is_known_host,
            asked_for=self.asked_for,
            ordinary=ordinary,
            before=before,
        )

    def sentences(self, report: Report) -> Sentences | None:
        return Sentences(self.look_for_orders, report) if self._guards.orders.guards else None

    def leak(self, report: Report) -> Leak | None:
        if not self._looks_for_leaks:
            return None
        return Leak(self.request.system, self.answers.leak, self.is_the_users, report)

    def look_for_keys(self, text: str, begin: int) -> list[Finding]:
        return [one for one in self._look(self._guards.secrets, text, begin) if one.kind not in OF_MANY_WORDS]

    def look_for_passwords(self, text: str, begin: int) -> list[Finding]:
        return [one for one in self._look(self._guards.secrets, text, begin) if one.kind == PASSWORD]

    def look_at_others(self, text: str, begin: int) -> list[Finding]:
        return self._look(self._guards.others, text, begin)

    def look_for_links(self, text: str, begin: int) -> list[Finding]:
        return [_taken_out(one) for one in self._seen(self._guards.links, text, begin)]

    def look_for_links_in_json(self, text: str, begin: int) -> list[Finding]:
        return [
            structs.replace(one, replacement=dumps(one.replacement, ensure_ascii=False)[1:-1])
            if one.replacement is not None
            else one
            for one in self.look_for_links(text, begin)
        ]

    def look_for_orders(self, text: str, begin: int) -> list[Finding]:
        return self._look(self._guards.orders, text, begin)

    def look_behind(self, text: str, begin: int) -> list[Finding]:
        """At what was said: what is only to be known, and of the operators' rules also what no stage can take out."""
        guards = self._guards
        others = self._look(guards.behind, text, begin) if guards.behind.guards else []
        if not guards.rails.guards:
            return others
        return [*others, *self._behind(text, begin)]

    def _behind(self, text: str, begin: int) -> Iterator[Finding]:
        """Disguised, or nearly a word of a list: that cannot be taken out any more, so the answer ends."""
        for one in self._seen(self._guards.rails, text, begin):
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
        verdict = chain.inspect(Segment(role="assistant", path="answer", text=text), self._budget)
        if isinstance(verdict, Allow):
            return []
        if isinstance(verdict, Block) and not verdict.findings:
            raise Unavailable
        return [finding for finding in verdict.findings if finding.end > begin]

    def _settled(self, finding: Finding, text: str) -> Finding:
        """With an action that answers know: kinds that only some guard has a name for come with those of requests."""
        if finding.action == "hash":
            mark = hashed(self._key, finding.kind, text[finding.start : finding.end])
            return structs.replace(finding, replacement=mark)
        if finding.action in OF_ANSWERS:
            return finding
        return structs.replace(finding, action=self.answers.action(finding.kind))

    def is_known(self, value: str) -> bool:
        """Whether the request itself says it."""
        if self._said is None:
            self._said = self.request.said.lower()
        return value.lower() in self._said

    def is_known_host(self, host: str) -> bool:
        """Whether the user or the operator names it. What a tool returned may name the host that it wants to be told."""
        trusted = f"{self.request.system}\n{self.request.users}"
        named = rf"(?<![\w-]){re.escape(host)}(?![\w-]|\.\w)"
        return re.search(named, trusted, re.IGNORECASE) is not None

    def is_the_users(self, words: str) -> bool:
        if self._users is None:
            self._users = f" {' '.join(words_of(self.request.users.casefold()))} "
        return f" {words} " in self._users

    def asked_for(self) -> bool:
        return wants_random(self.request)

    def wants_markup(self) -> bool:
        return wants_markup(self.request)

    def report(self, finding: Finding) -> bool:
        kind, action = ANSWER + finding.kind, finding.action
        if self._is_counting:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self._explain(finding)
        if action == "block":
            raise Stopped(finding.kind)
        return action in REMOVED

    def observe(self, finding: Finding) -> bool:
        """As `report`, of a text that stays as it is."""
        self.report(structs.replace(finding, action="flag") if finding.action in REMOVED else finding)
        return False

    def _explain(self, finding: Finding) -> None:
        if len(self.explanations) < EXPLANATIONS_MAX or finding.action == "block":
            self.explanations.append(
                Explanation(
                    guard=finding.guard,
                    kind=finding.kind,
                    action=finding.action,
                    rule=finding.rule,
                    side="answer",
                    path=self._path(),
                    start=max(0, finding.start),
                    end=max(0, finding.end),
                    via=finding.via,
                    per_mille=per_mille(finding.score),
                )
            )

    def _path(self) -> str:
        """Of the text that is read; "" where it stands beside the texts of a stream."""
        if type(self.at) is not str:
            return segments.shown(segments.join(tuple(flat(self.at))))
        return segments.shown(segments.join(steps)) if (steps := steps_to(self.at, self._tree)) is not None else ""


def flat(place: Iterable[Any]) -> Iterator[str | int]:
    for step in place:
        if type(step) is tuple:
            yield from flat(step)
        elif type(step) is str:
            yield step.rpartition(".")[2]  # Of an event's kind its own part.
        elif type(step) is int:
            yield step


def steps_to(text: str, tree: Any) -> Steps | None:
    """Where in a tree this very string stands: asked when something was found in it, for to carry the way along costs every text."""
    for step, item in tree.items() if type(tree) is dict else enumerate(tree) if type(tree) is list else ():
        if item is text:
            return (step,)
        if type(item) in (dict, list) and (steps := steps_to(text, item)) is not None:
            return (step, *steps)
    return None


def _taken_out(finding: Finding) -> Finding:
    """Nothing comes back into an answer: what is masked in a request is redacted in it."""
    return structs.replace(finding, action="redact", replacement=None) if finding.action == "mask" else finding


class Read:
    """One text."""

    __slots__ = (
        "_aloud", "_becomes", "_carried", "_follows", "_leak", "_place", "_reading", "_said", "_sentences", "_stages", "_values", "_watch", "_window",
    )  # fmt: skip

    def __init__(
        self,
        reading: Reading,
        report: Report,
        *,
        in_json: bool,
        is_value: bool = False,
        follows: Hashable = None,
        aloud: Aloud | None = None,
        place: Steps | str = (),
    ) -> None:
        """`aloud` hears it, if it is not told of it already."""
        self._reading, self._follows, self._aloud, self._place = reading, follows, aloud, place
        self._values = Values() if in_json and aloud is not None else None
        before = reading.carried(follows) if follows is not None else None
        self._carried = reading.carrying(report, in_json=in_json) if before is None else before
        self._stages = reading.stages(report, self._carried, in_json=in_json, is_first=before is None)
        ordinary = Ordinary(in_json=in_json, is_value=is_value)
        self._watch, self._leak = reading.watch(report, ordinary, self._carried.end), reading.leak(report)
        self._sentences = reading.sentences(report)
        self._window = Window(reading.originals, in_json=in_json) if reading.originals.in_text else None
        self._said: list[str] = []
        self._becomes: list[str] = []

    @property
    def held(self) -> int:
        """Characters held back by all stages."""
        return sum(stage.held for stage in self._stages)

    def push(self, piece: str) -> str:
        if (aloud := self._aloud) is not None:
            if aloud.alone is self:
                aloud.said.append(piece)
            else:
                self._hear(aloud, piece)
        said = piece
        self._reading.at = self._place
        for stage in self._stages:
            if not said:
                break
            said = stage.push(said)
        said = self._read(said)
        if self._reading.is_repeated:
            self._said.append(piece)
            self._becomes.append(said)
        return said

    @property
    def tells_all(self) -> bool:
        """Whether the system text is said in it."""
        return self._leak is not None and self._leak.found

    def _hear(self, aloud: Aloud, piece: str) -> None:
        if self._values is None:
            is_told = aloud.hear(self, piece)
        else:
            is_told = any([aloud.hear((self, which), value) for which, value in self._values.push(piece)])  # noqa: C419 - all are heard
        if is_told:
            self.tells_no_more()

    def tells_no_more(self) -> None:
        """That the system text is said in it was reported."""
        if self._leak is not None:
            self._leak.found = True

    def flush(self) -> str:
        if self._aloud is not None and self._values is not None:
            for which, value in self._values.flush():
                self._aloud.hear((self, which), value)
        said = ""
        self._reading.at = self._place
        for stage in self._stages:
            said = (stage.push(said) if said else "") + stage.flush()
        said = self._read(said)
        self._watch.over()
        if self._sentences is not None:
            self._sentences.over()
        if self._leak is not None:
            self._leak.over()
            if self._leak.found and self._aloud is not None:
                self._aloud.found = True
        if self._window is not None:
            said += self._window.flush()
        if self._reading.is_repeated:
            self._reading.keep("".join(self._said), "".join(self._becomes) + said)
        if self._follows is not None:
            self._reading.carry(self._follows, self._carried._replace(end=self._watch.end))
        return said

    def _read(self, said: str) -> str:
        """What is said for certain."""
        if not said:
            return said
        self._watch.read(said)
        if self._sentences is not None:
            self._sentences.read(said)
        if self._leak is not None:
            self._leak.read(said)
        return self._window.push(said) if self._window is not None else said


class Observed:
    """One text that a provider signed: it is read, and stays as it is. To end the answer is all that can be done."""

    __slots__ = ("_read",)

    def __init__(self, reading: Reading, aloud: Aloud | None = None, place: Steps | str = ()) -> None:
        self._read = Read(reading, reading.observe, in_json=False, aloud=aloud, place=place)

    def push(self, piece: str) -> str:
        self._read.push(piece)
        return piece

    def flush(self) -> str:
        self._read.flush()
        return ""
