"""The way from the shield to the gateway's own front door, for the judge: like any caller, with a key, limits and a record."""

import aiohttp

from llmproxy.common.errors import Unavailable

ANSWER_BYTES_MAX = 65_536
TIMEOUT_S = 60.0  # The judge's own bound is lower.


class Gateway:
    """Chat completions at one URL with one key. Each connects for itself: beside what a model takes that is nothing."""

    def __init__(self, url: str, key: str) -> None:
        self._url = f"{url.rstrip('/')}/v1/chat/completions"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    async def ask(self, body: bytes) -> bytes:
        """The whole answer. Raises Unavailable, whose words quote nothing."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
                session.post(self._url, data=body, headers=self._headers, allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    raise Unavailable("stage_unavailable", f"the judge's request was answered with {answer.status}")
                content = b""
                async for part in answer.content.iter_any():
                    content += part
                    if len(content) > ANSWER_BYTES_MAX:
                        raise Unavailable("stage_unavailable", "the judge's answer is too long")
                return content
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable("stage_unavailable", f"the judge cannot be asked ({type(error).__name__})") from error
