"""What one stream holds back: a text for each place of its answer, because whatever is looked for may be split over pieces."""

from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar

from llmproxy.common.errors import GatewayError

Place = TypeVar("Place", bound=Hashable)
Steps = tuple[Any, ...]
"""Names and numbers that lead to a text, in tuples of tuples."""

PLACES_MAX = 1_024  # Texts that one answer may have open; each holds a little back.


class Text(Protocol):
    """One text of an answer, as it comes: a choice's content, its refusal, the arguments of one tool call."""

    def push(self, piece: str) -> str:
        """What can be said now."""
        ...

    def flush(self) -> str:
        """What was held back; the text is over."""
        ...


class Texts(Protocol):
    """What happens to the texts of one answer, wherever they stand. A text is the same in pieces and whole."""

    choice: Hashable
    """Of several, the one whose texts come now."""

    @property
    def unmasks(self) -> bool:
        """Whether there is anything to put back, for which every string is looked through, text or not."""
        ...

    def open(
        self, *, in_json: bool = False, is_signed: bool = False, follows: Hashable = None, place: Steps = ()
    ) -> Text:
        """A text that comes in pieces. `in_json`: it is a JSON document, and stays one; `is_signed`: it stays as it is; `follows`: what
        all texts have in common that readers put together, one behind the other; `place`: where it stands, for the record."""
        ...

    def is_prose(self, text: str) -> bool:
        """Whether a glance tells that it stays as it is."""
        ...

    def text(self, text: str) -> str:
        """A text that comes whole."""
        ...

    def stays(self, text: str) -> bool:
        """A promise that a text that comes whole stays as it is, with nothing to report."""
        ...

    def value(self, key: str, value: Any) -> Any:
        """What stands beside the texts, whole, with every string in it treated as a text, but for ids and names."""
        ...

    def name(self, name: str) -> str:
        """What something is called."""
        ...

    def whole(self, event: bytes) -> bytes:
        """An answer or an event that comes as one JSON value."""
        ...

    def words(self, text: str) -> str:
        """Words about the answer: an error message may quote the request."""
        ...


def beside(texts: Texts, holder: dict[str, Any], known: frozenset[str]) -> bool:
    """What an object has beside what is known of it, changed in its place; says whether anything changed. Vendors add to every format."""
    if known.issuperset(holder):  # As nearly always.
        return False
    changed = False
    for name in [name for name in holder if name not in known]:
        changed |= renew(texts, holder, name)
    return changed


def others(texts: Texts, items: list[Any]) -> bool:
    """What is no object in a list of objects, changed in its place."""
    changed = False
    for place, item in enumerate(items):
        if type(item) is not dict and item is not None:
            items[place] = texts.value("", item)
            changed |= bool(items[place] != item)
    return changed


def renew(texts: Texts, holder: dict[str, Any], name: str) -> bool:
    """One of these."""
    value, called = holder[name], texts.name(name)
    new = texts.value(name, value)
    if called != name:
        del holder[name]
    elif new == value:
        return False
    holder[called] = new
    return True


def measured(texts: Texts, holder: dict[str, Any], name: str) -> bool:
    """A measure that may stand in an object: nearly always it does not, or has the form that it always has."""
    return bool(holder.get(name)) and renew(texts, holder, name)


class Held(Generic[Place]):
    """The open texts of one stream, by place: whatever tells one text of the answer from the others."""

    __slots__ = ("_open", "_within", "texts")

    def __init__(self, texts: Texts, within: str) -> None:
        """`within`: the list that all of them stand in."""
        self.texts, self._within = texts, within
        self._open: dict[Place, Text] = {}

    def push(
        self, place: Place, piece: str, *, in_json: bool = False, is_signed: bool = False, follows: Hashable = None
    ) -> str:
        """What can be said now."""
        text = self._open.get(place)
        if text is None:
            if len(self._open) >= PLACES_MAX:
                raise GatewayError("provider_bad_answer", f"the answer has more than {PLACES_MAX} texts at once")
            text = self._open[place] = self.texts.open(
                in_json=in_json, is_signed=is_signed, follows=follows, place=(self._within, place)
            )
        return text.push(piece)

    def is_open(self, place: Place) -> bool:
        return place in self._open

    def flush(self, is_over: Callable[[Place], bool]) -> list[tuple[Place, str]]:
        """Ends the texts at these places; those where something was held back, with it, in the order in which they began."""
        ended = [place for place in self._open if is_over(place)]
        return [(place, said) for place in ended if (said := self._open.pop(place).flush())]
