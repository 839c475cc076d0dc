"""What is not HTTP is answered and logged without its own words, on every listener of ours that aiohttp serves."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from patience import PATIENCE_S

from llmproxy.admin import app as admin
from llmproxy.admin.app import Token
from llmproxy.common import quiet_http
from llmproxy.common.probes import Readiness, serve_probes
from llmproxy.common.quiet_http import Runner

CANARY = "canary-of-a-token"
MALFORMED = [
    f"GET /{CANARY} is no target HTTP/1.1\r\nHost: x\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CANARY}\x00\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\n{CANARY}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer {CANARY}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\nX-A: {CANARY * 1000}\r\n\r\n",
    f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {CANARY}\r\n\r\n",
    f"{CANARY}\r\n\r\n",
    f"\x16\x03\x01{CANARY}\r\n\r\n",
]
Started = Callable[[], Awaitable[web.AppRunner]]


async def probes() -> web.AppRunner:
    return (await serve_probes(Readiness(), "127.0.0.1", 0))[0]


async def admins() -> web.AppRunner:
    return await admin.listen(admin.build([], Token("t" * 32)), fd=-1, host="127.0.0.1", port=0)


async def failing() -> web.AppRunner:
    async def fail(request: web.Request) -> web.Response:
        raise ValueError(CANARY)

    app = web.Application()
    app.router.add_get("/", fail)
    runner = Runner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


def said(start: Started, request: str) -> str:
    async def scenario() -> str:
        runner = await start()
        try:
            reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
            writer.write(request.encode("latin-1"))
            async with asyncio.timeout(PATIENCE_S):
                answer = await reader.read()
            writer.close()
            return answer.decode("latin-1")
        finally:
            await runner.cleanup()

    return asyncio.run(scenario())


@pytest.mark.parametrize("start", [probes, admins], ids=["probes", "admin"])
@pytest.mark.parametrize("request_", MALFORMED, ids=range(len(MALFORMED)))
def test_a_line_that_is_not_http_is_neither_quoted_nor_logged(
    start: Started, request_: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = said(start, request_)
    assert answer.startswith("HTTP/1.")
    assert " 400 " in answer.partition("\r\n")[0]
    assert "the request is not valid HTTP" in answer
    assert CANARY not in answer
    assert CANARY not in caplog.text
    assert "aiohttp" not in answer.lower()


@pytest.mark.parametrize("start", [probes, admins], ids=["probes", "admin"])
def test_what_nobody_expects_is_not_quoted(start: Started) -> None:
    answer = said(start, f"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: {CANARY}\r\n\r\n")
    assert " 417 " in answer.partition("\r\n")[0]
    assert CANARY not in answer
    assert "aiohttp" not in answer.lower()


@pytest.mark.parametrize("start", [probes, admins], ids=["probes", "admin"])
@pytest.mark.parametrize("begun", ["", "GET /livez HTTP/1.1\r\nX-A: "], ids=["nothing", "a part"])
def test_who_says_nothing_more_is_not_waited_for(start: Started, begun: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet_http, "IDLE_S", 0.1)
    assert said(start, begun) == ""


def test_a_handler_that_fails_is_named_by_its_place_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = said(failing, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert " 500 " in answer.partition("\r\n")[0]
    assert CANARY not in answer
    assert CANARY not in caplog.text
    assert "ValueError at " in caplog.text
    assert f"{Path(__file__).name}:" in caplog.text


def test_nobody_serves_an_application_with_aiohttps_own_words() -> None:
    root = Path(__file__).parents[2]
    for file in (*root.glob("libs/common/**/*.py"), *root.glob("services/**/*.py")):
        if file.name != "quiet_http.py":
            assert "web.AppRunner(" not in file.read_text(), f"{file}: use common/quiet_http.Runner"
