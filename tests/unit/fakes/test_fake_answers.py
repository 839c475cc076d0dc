"""What a fake says by default, and its wire where no package of the vendor's judges it."""

import json
from urllib.parse import quote

import pytest

from llmproxy.fakes.bedrock import frame, is_signed
from llmproxy.fakes.conversation import Asked, Behaviour, Recorded, Saying, Tool, ToolResult, Turn, media_of, write
from llmproxy.fakes.families import FAMILIES, MODELS
from llmproxy.provider_workers.aws_events import AwsEvents
from llmproxy.provider_workers.sigv4 import AwsKeys, Scope, sign

TOOLS = (
    Tool("look", {"properties": {"city": {"type": "string"}}}),
    Tool("walk", {"properties": {"far": {"type": "integer"}}}),
)


def calls(asked: Asked, **behaviour: int) -> list[tuple[str, dict[str, object]]]:
    made = write(asked, None, Behaviour(**behaviour), "call_{}").calls
    return [(call.name, call.arguments) for call in made]


def test_the_tools_that_a_user_names_are_called() -> None:
    asked = Asked(turns=(Turn("user", "please walk and look"),), tools=TOOLS)
    assert calls(asked) == [("look", {"city": "please walk and look"}), ("walk", {"far": 1})]
    assert calls(Asked(turns=asked.turns, tools=TOOLS, is_parallel=False)) == [
        ("look", {"city": "please walk and look"})
    ]
    assert calls(Asked(turns=asked.turns, tools=TOOLS, tool_choice="walk")) == [("walk", {"far": 1})]
    assert calls(Asked(turns=asked.turns, tools=TOOLS, tool_choice="none")) == []


def test_after_results_it_says_what_they_were() -> None:
    asked = Asked(turns=(Turn("user", "look"), Turn("user", results=(ToolResult("1", "look", "rain"),))), tools=TOOLS)
    script = write(asked, None, Behaviour(), "call_{}")
    assert (script.text, script.calls) == ("look: rain", ())


def test_further_texts_come_in_pieces_of_their_own() -> None:
    asked = Asked(turns=(Turn("user", "hello"),))
    script = write(asked, Saying(text="abc", more=("def", "g")), Behaviour(piece_chars=2), "")
    assert script.texts == (("ab", "c"), ("de", "f"), ("g",))
    assert write(asked, Saying(text=""), Behaviour(), "").texts == ()


def test_an_answer_proves_which_image_came() -> None:
    texts = [
        write(Asked(turns=(Turn("user", "?", media=(media_of("image/png", data),)),)), None, Behaviour(), "").text
        for data in ("AAAA", "AAAB")
    ]
    assert texts[0] != texts[1]


def test_every_family_has_a_model_for_examples() -> None:
    assert MODELS.keys() == FAMILIES.keys()


def test_bedrocks_frames_are_what_the_gateway_reads() -> None:
    """Two implementations of one format, written apart."""
    (message,) = AwsEvents().feed(frame("contentBlockDelta", {"delta": {"text": "ü"}}))
    assert (message.kind, message.type) == ("event", "contentBlockDelta")
    assert json.loads(message.payload)["delta"] == {"text": "ü"}


@pytest.mark.parametrize("change", ["", "body", "path", "secret", "date"])
def test_a_signature_holds_for_exactly_what_was_signed(change: str) -> None:
    path = f"/model/{quote('anthropic.claude:0', safe='')}/converse"
    added = sign(
        "POST", path, "", [("host", "127.0.0.1:1")], b"{}",
        keys=AwsKeys(access_key_id="AKID", secret_access_key="secret"),
        scope=Scope(region="us-east-1", service="bedrock"), now=1_700_000_000,
    )  # fmt: skip
    headers = {"host": "127.0.0.1:1", **dict(added)}
    if change == "date":
        headers["x-amz-date"] = "20200101T000000Z"
    raw = path.replace("claude", "other") if change == "path" else path
    recorded = Recorded("POST", "/decoded", "", headers, b"{ }" if change == "body" else b"{}", raw)
    assert is_signed(recorded, "wrong" if change == "secret" else "secret") is (change == "")
