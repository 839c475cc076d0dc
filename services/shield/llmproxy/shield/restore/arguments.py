"""Arguments of a function call that come in pieces in Gemini's stream: each part has the next characters of some of their texts.

https://docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling#streaming-fc
"""

from collections.abc import Iterator
from typing import Any

from llmproxy.shield.restore.held import Held, Texts

CALLS, PIECES, GOES_ON = (
    ("functionCall", "function_call"),
    ("partialArgs", "partial_args"),
    ("willContinue", "will_continue"),
)
TEXTS = ("stringValue", "string_value")
PATHS = ("jsonPath", "json_path")

Place = tuple[int, str]
"""The candidate's index, and where in the arguments the text stands."""


class Arguments:
    def __init__(self, texts: Texts) -> None:
        self._held: Held[Place] = Held(texts, "candidates")
        self._names: dict[Place, tuple[str, str, str, str]] = {}  # As the vendor spells them there.

    def part(self, index: int, part: dict[str, Any]) -> dict[str, Any] | None:
        """The part as it is to be said; None when it has no arguments in pieces, and ends none."""
        called = _under(CALLS, part)
        call = part.get(called)
        if type(call) is not dict:
            return None
        spelt = _under(PIECES, call)
        given = call.get(spelt)
        is_last = not call.get(_under(GOES_ON, call))
        if type(given) is not list and not (is_last and any(place[0] == index for place in self._names)):
            return None
        said = [self._argument(index, one, called, spelt) for one in given] if type(given) is list else []
        if is_last:
            said += [argument for _, _, argument in self._flush(lambda place: place[0] == index)]
        rest = self._held.texts.value("", {name: value for name, value in part.items() if name != called})
        others = self._held.texts.value("", {name: value for name, value in call.items() if name != spelt})
        return {**rest, called: {**others, **({spelt: said} if said or given is not None else {})}}

    def end(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """What is held when the answer ends without saying so."""
        for place, (called, spelt), argument in self._flush(lambda _: True):
            yield place[0], {called: {spelt: [argument]}}

    def _argument(self, index: int, one: Any, called: str, spelt: str) -> Any:
        text = _under(TEXTS, one) if type(one) is dict else ""
        if not text or type(one.get(text)) is not str:
            return self._held.texts.value("", one)
        path, goes_on = _under(PATHS, one), _under(GOES_ON, one)
        # A path names arguments, as the model has written them.
        others = self._held.texts.value("", {name: value for name, value in one.items() if name != text})
        place = (index, str(others.get(path)))
        self._names[place] = (called, spelt, path, text)
        said = self._held.push(place, one[text])
        if not one.get(goes_on):
            said += "".join(argument[text] for _, _, argument in self._flush(lambda known: known == place))
        return {**others, text: said}

    def _flush(self, is_over: Any) -> list[tuple[Place, tuple[str, str], dict[str, Any]]]:
        found = []
        for place, said in self._held.flush(is_over):
            called, spelt, path, text = self._names[place]
            found.append((place, (called, spelt), {path: place[1], text: said}))
        for place in [place for place in self._names if is_over(place)]:
            del self._names[place]
        return found


def _under(names: tuple[str, str], holder: dict[str, Any]) -> str:
    """Which of the two spellings is used."""
    return names[1] if names[1] in holder else names[0]
