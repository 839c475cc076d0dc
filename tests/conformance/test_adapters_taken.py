"""What a chat may legally hold is taken by every vendor, alone and beside an option, or refused by name before it is asked.

The vendors are the strict fakes: what they refuse, their originals refuse.
"""

import json
from urllib.parse import urlsplit

import pytest
from conformance.chats import FEATURES, OPTIONS, URLS, Tree, before_last, option, plain
from upstreams import MODELS, VENDORS, Behaviour

from llmproxy.common.errors import GatewayError
from llmproxy.fakes.conversation import Recorded, Refused
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import Target

SAME_FORMAT = {"openai", "azure"}  # What they are sent is what the caller wrote: it is theirs to refuse.
PROVIDERS = sorted((ADAPTERS.keys() & VENDORS.keys()) - SAME_FORMAT)
MODEL = {**MODELS, "openai-responses": MODELS["openai"]}


def begun_by_the_assistant(chat: Tree) -> None:
    chat["messages"].insert(1, {"role": "assistant", "content": "Hello, how can I help?"})


def said_in_parts(chat: Tree) -> None:
    texts = [{"type": "text", "text": text} for text in ("", "One.", "Two.")]
    chat["messages"][-1]["content"] = texts
    before_last({"role": "assistant", "content": texts[1:]})(chat)


SHAPES = {
    **FEATURES,
    "begun by the assistant": begun_by_the_assistant,
    "said in parts": said_in_parts,
    "two of the user": lambda chat: chat["messages"].insert(-1, {"role": "user", "content": "And then?"}),
    "nothing of the user": lambda chat: chat["messages"].insert(-1, {"role": "user", "content": ""}),
    "nothing of the assistant": before_last({"role": "assistant", "content": ""}),
    "no instruction": lambda chat: chat["messages"].pop(0),
    "a tool without parameters": option(tools=[{"type": "function", "function": {"name": "ping"}}]),
    "minimal effort": option(reasoning_effort="minimal"),
    "no effort": option(reasoning_effort="none"),
    "streamed": option(stream=True),
}


def refusal(provider: str, chat: Tree) -> str:
    """What the vendor says against it; nothing when it takes it, or is not asked."""
    vendor = VENDORS[provider]
    base = URLS.get(provider, "https://vendor.example") + vendor.base
    target = Target(model=MODEL[provider], url=base, stream=bool(chat.get("stream")))
    try:
        made = ADAPTERS[provider].request(json.dumps(chat).encode(), target)
    except GatewayError:
        return ""
    at = urlsplit(made.url)
    operation = vendor.operation(made.method, at.path)
    assert operation is not None
    try:
        operation.ask(Recorded(made.method, at.path, at.query, dict(made.headers), made.body), Behaviour())
    except Refused as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_legal_chat_is_never_refused_by_the_vendor(provider: str, shape: str) -> None:
    refused = {}
    for name in sorted(OPTIONS | {shape}):
        chat = plain()
        SHAPES[shape](chat)
        if name != shape:
            SHAPES[name](chat)
        if says := refusal(provider, chat):
            refused[name] = says
    assert refused == {}
