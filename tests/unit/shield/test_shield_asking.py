"""The judge's way to the gateway: one POST with its key, and every way in which that fails is the same failure."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from llmproxy.common.errors import Unavailable
from llmproxy.shield.asking import ANSWER_BYTES_MAX, Gateway

KEY = "llm-key-canary"


@asynccontextmanager
async def answering(answer: web.Response, seen: list[tuple[str, str, bytes]]) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.Response:
        seen.append((request.path, request.headers["Authorization"], await request.read()))
        return answer

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def ask(answer: web.Response) -> tuple[bytes, list[tuple[str, str, bytes]]]:
    seen: list[tuple[str, str, bytes]] = []

    async def run() -> bytes:
        async with answering(answer, seen) as url:
            return await Gateway(url, KEY).ask(b"{}")

    return asyncio.run(run()), seen


def test_a_question_is_a_chat_completion_with_the_judges_key() -> None:
    said, seen = ask(web.Response(body=b"[1]"))
    assert said == b"[1]"
    assert seen == [("/v1/chat/completions", f"Bearer {KEY}", b"{}")]


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=400, body=b"{}"),
        web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
        web.Response(body=b"x" * (ANSWER_BYTES_MAX + 1)),
    ],
    ids=["refused", "sent elsewhere", "too long"],
)
def test_what_is_no_answer_is_unavailable_and_quotes_nothing(answer: web.Response) -> None:
    with pytest.raises(Unavailable) as failed:
        ask(answer)
    assert KEY not in str(failed.value)


def test_a_gateway_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        asyncio.run(Gateway("http://127.0.0.1:1", KEY).ask(b"{}"))
