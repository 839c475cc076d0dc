"""The stream of the older completions API: chunks whose choices are texts."""

from typing import Any

import msgspec

from llmproxy.shield.restore.chat import OF_CHUNK
from llmproxy.shield.restore.held import Held, Texts, beside, measured, others
from llmproxy.shield.restore.whole import drop_logprobs

OF_CHOICE = frozenset({"index", "text", "finish_reason", "logprobs"})


class Stream:
    """One text for each choice; what it holds leaves with the choice's finish."""

    def __init__(self, texts: Texts) -> None:
        self._held: Held[int] = Held(texts, "choices")
        self._last: dict[str, Any] = {}

    def chunk(self, event: bytes) -> list[bytes]:
        tree = msgspec.json.decode(event)
        choices = tree.get("choices") if type(tree) is dict else None
        if type(choices) is not list or not choices:
            return [self._held.texts.whole(event)]
        self._last = tree
        changed = beside(self._held.texts, tree, OF_CHUNK)
        changed |= measured(self._held.texts, tree, "usage")
        changed |= others(self._held.texts, choices)
        for choice in choices:
            if type(choice) is dict:
                changed |= self._choice(choice)
        return [msgspec.json.encode(tree) if changed else event]

    def end(self) -> list[bytes]:
        return [self._event(index, said) for index, said in self._held.flush(lambda _: True)]

    def _choice(self, choice: dict[str, Any]) -> bool:
        index, text = choice.get("index", 0), choice.get("text")
        self._held.texts.choice = index
        changed = beside(self._held.texts, choice, OF_CHOICE)
        changed |= measured(self._held.texts, choice, "logprobs")
        said = self._held.push(index, text) if type(text) is str else ""
        if choice.get("finish_reason"):  # As in chats.
            said += "".join(rest for _, rest in self._held.flush(lambda place: bool(place == index)))
        if said == (text or ""):
            return changed
        choice["text"] = said
        drop_logprobs(choice)
        return True

    def _event(self, index: int, text: str) -> bytes:
        """A chunk like the last one, with this text of this choice alone."""
        choice = {"index": index, "text": text, "logprobs": None, "finish_reason": None}
        like = {key: value for key, value in self._last.items() if key != "usage"}
        return msgspec.json.encode({**like, "choices": [choice]})
