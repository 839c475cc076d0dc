"""The stream of the older completions API: chunks whose choices are texts."""

from typing import Any

import msgspec

from llmproxy.shield.answers.names import is_piece
from llmproxy.shield.restore.chat import OF_CHUNK
from llmproxy.shield.restore.held import Held, Texts, beside, measured, others
from llmproxy.shield.restore.whole import drop_logprobs

TEXT = "text"
OF_CHOICE = frozenset({"index", "finish_reason", "logprobs"})

Place = tuple[int, str]
"""The choice's index, and under which name the text stands: vendors have others beside the one that everybody knows."""


class Stream:
    """Each text of each choice by itself; what it holds leaves with the choice's finish."""

    def __init__(self, texts: Texts) -> None:
        self._held: Held[Place] = Held(texts, "choices")
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
        return [self._event(index, name, said) for (index, name), said in self._held.flush(lambda _: True)]

    def _choice(self, choice: dict[str, Any]) -> bool:
        index = self._held.texts.choice = choice.get("index", 0)
        names = [
            name for name, value in choice.items() if type(value) is str and name not in OF_CHOICE and is_piece(name)
        ]
        came = {name: choice[name] for name in names}
        changed = beside(self._held.texts, choice, OF_CHOICE.union(names))
        changed |= measured(self._held.texts, choice, "logprobs")
        said = {name: self._held.push((index, name), text) for name, text in came.items()}
        if choice.get("finish_reason"):  # As in chats.
            for (_, name), rest in self._held.flush(lambda place: place[0] == index):
                said[name] = said.get(name, "") + rest
        if all(came.get(name, "") == text for name, text in said.items()):
            return changed
        choice |= said
        drop_logprobs(choice)
        return True

    def _event(self, index: int, name: str, text: str) -> bytes:
        """A chunk like the last one, with this text of this choice alone."""
        choice = {"index": index, TEXT: "", name: text, "logprobs": None, "finish_reason": None}
        like = {key: value for key, value in self._last.items() if key != "usage"}
        return msgspec.json.encode({**like, "choices": [choice]})
