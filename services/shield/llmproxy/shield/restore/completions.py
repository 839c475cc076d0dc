"""The stream of the older completions API: chunks whose choices are texts."""

from collections.abc import Mapping
from typing import Any

import msgspec

from llmproxy.shield.restore.held import Held
from llmproxy.shield.restore.whole import drop_logprobs, whole


class Stream:
    """One window for each choice; what it holds leaves with the choice's finish."""

    def __init__(self, originals: Mapping[str, str]) -> None:
        self._held: Held[int] = Held(originals)
        self._last: dict[str, Any] = {}

    def text(self, text: str) -> str:
        return self._held.text(text)

    def chunk(self, event: bytes) -> list[bytes]:
        tree = msgspec.json.decode(event)
        choices = tree.get("choices") if type(tree) is dict else None
        if type(choices) is not list or not choices:
            return [whole(event, self._held.originals)]
        self._last = tree
        changed = [self._choice(choice) for choice in choices if type(choice) is dict]
        return [msgspec.json.encode(tree) if any(changed) else event]

    def end(self) -> list[bytes]:
        return [self._event(index, self._held.flush(index)) for index in self._held.places]

    def _choice(self, choice: dict[str, Any]) -> bool:
        index, text = choice.get("index", 0), choice.get("text")
        said = self._held.push(index, text) if type(text) is str else ""
        if choice.get("finish_reason") is not None:
            said += self._held.flush(index)
        if said == (text or ""):
            return False
        choice["text"] = said
        drop_logprobs(choice)
        return True

    def _event(self, index: int, text: str) -> bytes:
        """A chunk like the last one, with this text of this choice alone."""
        choice = {"index": index, "text": text, "logprobs": None, "finish_reason": None}
        like = {key: value for key, value in self._last.items() if key != "usage"}
        return msgspec.json.encode({**like, "choices": [choice]})
