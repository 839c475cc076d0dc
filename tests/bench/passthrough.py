"""The yardstick: an aiohttp and uvloop proxy that checks one key and does nothing else."""

import argparse
import hmac
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)


def application(upstream: str, key: str) -> web.Application:
    expected = f"Bearer {key}".encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-upstream"}

    async def chat(request: web.Request) -> web.StreamResponse:
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected):
            return web.json_response({"error": {"message": "wrong key"}}, status=401)
        async with request.app[SESSION].post(upstream, data=await request.read(), headers=headers) as answer:
            if answer.content_type != "text/event-stream":
                return web.Response(body=await answer.read(), status=answer.status, content_type=answer.content_type)
            stream = web.StreamResponse(status=answer.status, headers={"Content-Type": "text/event-stream"})
            await stream.prepare(request)
            async for data in answer.content.iter_any():
                await stream.write(data)
            await stream.write_eof()
            return stream

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def session(app: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as opened:
            app[SESSION] = opened
            yield

    app = web.Application(client_max_size=16 << 20)
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/health", health)
    app.cleanup_ctx.append(session)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True, help="URL of the chat completions endpoint")
    parser.add_argument("--key", required=True)
    given = parser.parse_args()
    uvloop.install()
    web.run_app(
        application(given.upstream, given.key),
        host="127.0.0.1",
        port=given.port,
        access_log=None,
        backlog=4096,
        print=None,
    )


if __name__ == "__main__":
    main()
