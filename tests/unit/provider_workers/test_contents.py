"""Addresses in a chat: found where they stand, and put in the place of nothing else."""

import json
from typing import Any

import pytest

from llmproxy.provider_workers.contents import ContentsWanted, Place, placed

ADDRESS, OTHER = "https://pictures.example.com/cat.png", "https://pictures.example.com/paper.pdf"


def chat(*parts: Any) -> bytes:
    content = [{"type": "text", "text": ADDRESS}, *parts]
    return json.dumps(
        {
            "model": "m",
            "n": 1.0,
            "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": content}],
        }
    ).encode()


PICTURE = {"type": "image_url", "image_url": {"url": ADDRESS, "detail": "low"}}
PLAIN = {"type": "image_url", "image_url": ADDRESS}
PAPER = {"type": "file", "file": {"file_data": OTHER, "filename": "paper.pdf"}}


def test_each_address_is_wanted_once_by_its_first_place() -> None:
    with pytest.raises(ContentsWanted) as caught:
        placed(chat(PICTURE, PLAIN, PAPER), {})
    assert caught.value.places == {
        ADDRESS: Place("messages[1].content[1].image_url.url", "image"),
        OTHER: Place("messages[1].content[3].file.file_data", "file"),
    }


def test_contents_take_the_place_of_addresses_and_of_nothing_else() -> None:
    made = json.loads(placed(chat(PICTURE, PLAIN, PAPER), {ADDRESS: "data:1", OTHER: "data:2"}))
    expected = json.loads(chat(PICTURE, PLAIN, PAPER))
    parts = expected["messages"][1]["content"]
    parts[1]["image_url"]["url"] = parts[2]["image_url"] = "data:1"
    parts[3]["file"]["file_data"] = "data:2"
    assert made == expected


@pytest.mark.parametrize(
    "body",
    [
        chat(),
        chat({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}),
        chat({"type": "image_url", "image_url": {"url": "http://pictures.example.com/cat.png"}}),
        chat({"type": "file", "file": {"file_id": "f"}}, {"type": "file", "file": "https://x.example/"}),
        chat({"type": "image_url", "image_url": None}, {"type": "image_url", "image_url": 5}),
        b'{"messages":"https://x.example/"}',
        b'{"messages":[{"content":[1]}]}',
        b"not JSON https://",
        b"{}",
        b"[" * 100_000,
    ],
)
def test_what_has_no_address_or_is_no_chat_stays_as_it_is(body: bytes) -> None:
    assert placed(body, {}) == body
