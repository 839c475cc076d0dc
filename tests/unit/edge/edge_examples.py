"""One good request for every route that calls a provider, for tests that go through all of them."""

from typing import Any

import aiohttp

from llmproxy.common.envelope import Dialect
from llmproxy.edge.routes.table import GENERATE, ROUTES, STREAM_GENERATE, Action, Route

CALLS: dict[str, Route] = {
    route.name: route for route in (*ROUTES.values(), GENERATE, STREAM_GENERATE) if route.action is Action.CALL
}
MESSAGES = [{"role": "user", "content": "hello"}]
BODIES: dict[str, dict[str, Any]] = {
    "chat": {"model": "demo", "messages": MESSAGES},
    "completions": {"model": "demo", "prompt": "hello"},
    "responses": {"model": "demo", "input": "hello"},
    "messages": {"model": "demo", "messages": MESSAGES, "max_tokens": 16},
    "count_tokens": {"model": "demo", "messages": MESSAGES},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
    "embeddings": {"model": "demo", "input": "hello"},
    "moderations": {"model": "demo", "input": "hello"},
    "rerank": {"model": "demo", "query": "hello", "documents": ["a", "b"]},
    "images": {"model": "demo", "prompt": "hello"},
    "speech": {"model": "demo", "input": "hello", "voice": "alloy"},
    "transcriptions": {"model": "demo"},
}
"""By API."""
AUDIO = bytes(range(256)) * 3


def path(route: Route, model: str = "demo") -> str:
    return route.name.replace("{model}", model)


def options(route: Route, **fields: Any) -> dict[str, Any]:
    """What aiohttp's client sends; `fields` go into the body, None removes."""
    body = {name: value for name, value in {**BODIES[route.api], **fields}.items() if value is not None}
    return {"data": form(body)} if route.takes_form else {"json": body}


def form(fields: dict[str, Any], audio: bytes = AUDIO) -> aiohttp.FormData:
    made = aiohttp.FormData()
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            made.add_field(name, str(one))
    made.add_field("file", audio, filename="speech.wav", content_type="audio/wav")
    return made


def error_of(dialect: Dialect, body: Any) -> tuple[str, str]:
    """(message, type or status) of an error answer; fails unless it has exactly its dialect's shape."""
    match dialect:
        case "openai":
            assert set(body) == {"error"}
            assert set(body["error"]) == {"message", "type", "param", "code"}
            return body["error"]["message"], body["error"]["type"]
        case "anthropic":
            assert set(body) == {"type", "error", "request_id"}
            assert body["type"] == "error"
            assert set(body["error"]) == {"type", "message"}
            return body["error"]["message"], body["error"]["type"]
        case "google":
            assert set(body) == {"error"}
            assert set(body["error"]) == {"code", "message", "status", "details"}
            return body["error"]["message"], body["error"]["status"]
