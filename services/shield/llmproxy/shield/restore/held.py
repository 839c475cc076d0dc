"""What one stream holds back: a window for each place of its answer, because a placeholder may be split over any number of pieces."""

from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

from llmproxy.shield.vault import unmask
from llmproxy.shield.window import Originals, Window

Place = TypeVar("Place", bound=Hashable)


class Held(Generic[Place]):
    """The windows of one stream, by place: whatever tells one text of the answer from the others."""

    __slots__ = ("_windows", "originals")

    def __init__(self, originals: Mapping[str, str]) -> None:
        self.originals = Originals(originals)
        self._windows: dict[Place, Window] = {}

    def push(self, place: Place, piece: str, *, in_json: bool = False) -> str:
        """What can be said now. `in_json`: the text is a JSON document, and stays one."""
        window = self._windows.get(place)
        if window is None:
            window = self._windows[place] = Window(self.originals, in_json=in_json)
        return window.push(piece)

    def flush(self, place: Place) -> str:
        """What was held back there; the text is over."""
        window = self._windows.get(place)
        return window.flush() if window is not None else ""

    @property
    def places(self) -> list[Place]:
        """Where something is held back, in the order in which the texts began."""
        return [place for place, window in self._windows.items() if not window.is_empty]

    def text(self, text: str) -> str:
        return unmask(text, self.originals.in_text)

    def deep(self, value: Any) -> Any:
        """A value that comes whole, with every string in it unmasked."""
        if type(value) is str:
            return self.text(value)
        if type(value) is list:
            return [self.deep(item) for item in value]
        if type(value) is dict:
            return {self.text(key): self.deep(item) for key, item in value.items()}
        return value
