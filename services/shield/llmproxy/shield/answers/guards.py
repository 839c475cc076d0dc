"""The shield's own guards as a policy wants them for answers, and which texts none of them has to read."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Generic, TypeVar

from msgspec import structs

from llmproxy.common.actions import PASSING, Action
from llmproxy.common.answers import REMOVED
from llmproxy.common.policy import ALLOWED, INJECTION, KINDS, SECRET, Policy
from llmproxy.common.rails import DOES
from llmproxy.shield import look
from llmproxy.shield.answers import escapes, images, invisible, keys, lines, sentences, watch, words
from llmproxy.shield.answers.noise import BLOCK_CHARS
from llmproxy.shield.answers.rails import Taking
from llmproxy.shield.chain import Chain
from llmproxy.shield.guards.base import Fitted, Guard, Sighted
from llmproxy.shield.guards.rules import Rules
from llmproxy.shield.guards.secrets import OURS as OF_SECRETS
from llmproxy.shield.guards.topics import Topics
from llmproxy.shield.look import Look

T = TypeVar("T")
SEEN_MAX = 4_096

CONCERNS = OF_SECRETS | Look.ENCODED | Look.BEYOND | Look.MARKUP | Look.LONG | Look.URL | Look.COLONS
"""What any stage looks for, but for what guards do behind a text. Five dashes, with which a private key begins, are COLONS, too."""


class Seen(Generic[T]):
    """What was read and passed as it was, whatever was asked: of what every answer of a vendor has."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: set[T] = set()

    def __contains__(self, one: T) -> bool:
        return one in self._kept

    def add(self, one: T) -> None:
        if len(self._kept) >= SEEN_MAX:
            self._kept.clear()
        self._kept.add(one)


def of_answers(policy: Policy) -> Policy:
    """The policy as the guards have it that look at requests too."""
    answers = policy.answers
    kinds: dict[str, Action] = {
        kind: "allow" if kind in ALLOWED and kind not in answers.kinds else answers.action(kind)
        for kind in (*KINDS, *answers.kinds)
    }
    return structs.replace(policy, kinds=kinds, injection=structs.replace(policy.injection, mode=answers.injection))


class Guards:
    """The shield's own guards as a policy wants them for answers; made once for each policy."""

    def __init__(self, guards: Sequence[Guard], policy: Policy) -> None:
        self.policy = policy
        answers = policy.answers
        as_answers = of_answers(policy)
        kinds = as_answers.kinds
        secrets = {kind: action for kind, action in kinds.items() if kind.partition(".")[0] == SECRET}
        self.private_key = answers.action(keys.KIND)
        self.looks_for_secrets = any(action != "allow" for action in secrets.values())
        self.takes_out_others = any(
            action == "block" or action in REMOVED for kind, action in kinds.items() if kind not in secrets
        )
        self.secrets = Chain([guard for guard in guards if guard.name == "secrets"], as_answers)
        # Answers are read in the loop, where a guard that needs a process of its own may not look (docs/adr/0020).
        others = [guard for guard in guards if guard.name != "secrets" and not isinstance(guard, Fitted)]
        # What can be taken out is looked for before it is said, at digits; the rest is in any words, and known behind them.
        self.orders = Chain([guard for guard in others if guard.name == INJECTION], as_answers)
        others = [guard for guard in others if guard.name != INJECTION]
        self.others = Chain(others, as_answers)
        self.behind = Chain([] if self.takes_out_others else others, as_answers)
        rails = structs.replace(policy, rails=policy.rails.answering())
        does = DOES[rails.rails.links.action]
        self.takes_out_links = does not in PASSING and not rails.rails.links.is_empty
        own = [guard for guard in guards if isinstance(guard, Fitted) and guard.reads_answers]
        self.links = Chain([guard for guard in own if guard.name == "links"], rails)
        self.rails = Chain([guard for guard in own if guard.name != "links" or not self.takes_out_links], rails)
        takings = (Taking(guard) for guard in self.rails.guards if isinstance(guard, Rules | Topics))
        self.takings = tuple(one for one in takings if not one.is_empty)
        self.has_rails = bool(self.rails.guards) or self.takes_out_links
        self._expressions = tuple(guard.expressions for guard in self.rails.guards if isinstance(guard, Rules | Topics))
        self.has_expressions = bool(self._expressions)
        self._clear_texts = tuple(self._checks(in_json=False))
        self._clear_documents = tuple(self._checks(in_json=True))
        self._concerns = self._bits()
        self.names, self.echoes = Seen[str](), Seen[bytes]()

    @property
    def is_slow(self) -> bool:
        """Whether a text can be written that an event loop may not look at, however short: it is read in a thread."""
        return any(one.is_slow for one in self._expressions)

    def _checks(self, *, in_json: bool) -> Iterator[Callable[[str], bool]]:
        """What `is_clear` asks of each stage that `new_stages` makes of the policy, and of the watch behind them."""
        answers = self.policy.answers
        if in_json:
            yield escapes.is_clear
        if answers.invisible != "disabled":
            yield invisible.is_clear
        if answers.links.images != "disabled" and not in_json:
            yield images.is_clear
        if self.private_key != "allow":
            yield keys.is_clear
        if self.looks_for_secrets:
            yield words.is_clear
        if self.takes_out_others:
            yield lines.has_no_digits
        yield partial(watch.is_clear, settings=answers, may_hold=self.behind.may_hold)
        if self.orders.guards:
            yield partial(sentences.is_clear, may_hold=self.orders.may_hold)

    def _bits(self) -> int:
        """Without one of these bits of `look.Look` no check says anything of a short text; 0 where there may be one that does."""
        bits = CONCERNS
        for guard in (*self.behind.guards, *self.orders.guards):
            if not isinstance(guard, Sighted):
                return 0
            bits |= guard.needs
        return 0 if self.takes_out_others else bits

    def is_prose(self, text: str) -> bool:
        """The same in microseconds, of nearly all prose that is short."""
        if not self._concerns or self.has_rails:
            return False
        return len(text) < BLOCK_CHARS and not look.at(text) & self._concerns

    def is_clear(self, text: str, *, in_json: bool) -> bool:
        """A promise that the whole of a text comes out as it went in and nothing is reported, whatever was asked."""
        if self.has_rails:
            return False
        if self.is_prose(text):
            return True
        for is_clear in self._clear_documents if in_json else self._clear_texts:  # noqa: SIM110 - as in lines.py
            if not is_clear(text):
                return False
        return True
