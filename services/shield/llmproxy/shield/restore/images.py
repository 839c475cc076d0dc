"""Whole answers of the images API: the text in them is the prompt, as the vendor's model has revised it.

The pictures themselves are megabytes of base64 or addresses that the vendor has signed: neither is a model's words.
"""

from typing import Any

import msgspec

from llmproxy.shield.restore.held import Texts
from llmproxy.shield.restore.whole import decoded

PICTURES = "data"
PICTURE = frozenset({"b64_json", "url"})


class Whole:
    """What stands beside the pictures is read, whatever it is called."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    def chunk(self, event: bytes) -> list[bytes]:
        tree = decoded(event)
        pictures = tree.get(PICTURES) if type(tree) is dict else None
        if type(pictures) is not list or not all(type(one) is dict for one in pictures):
            return [self._texts.whole(event)]
        beside = msgspec.json.encode({**tree, PICTURES: [_part(one, of_picture=False) for one in pictures]})
        restored = self._texts.whole(beside)
        if restored == beside:
            return [event]
        tree = decoded(restored)
        pairs = zip(tree[PICTURES], pictures, strict=True)
        tree[PICTURES] = [{**text, **_part(one, of_picture=True)} for text, one in pairs]
        return [msgspec.json.encode(tree)]

    def end(self) -> list[bytes]:
        return []


def _part(picture: dict[str, Any], *, of_picture: bool) -> dict[str, Any]:
    """Of an entry the picture itself, or all the rest."""
    return {name: value for name, value in picture.items() if _is_picture(name, value) is of_picture}


def _is_picture(name: str, value: Any) -> bool:
    return name in PICTURE and type(value) is str and " " not in value
