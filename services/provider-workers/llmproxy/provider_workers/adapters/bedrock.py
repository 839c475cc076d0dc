"""Amazon Bedrock, Converse and ConverseStream. https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html

One format for the models of many vendors; what only some of them know travels in `additionalModelRequestFields`. Signed
thinking must come back exactly as it was sent: it leaves in `thinking_blocks`, in Anthropic's form, and is restored from there.
"""

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote, urlsplit, urlunsplit

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters.base import (
    Answer,
    Capability,
    Credential,
    HttpRequest,
    Origin,
    StreamTranslator,
    Target,
    Wire,
)
from llmproxy.provider_workers.bedrock_answers import VENDOR, answer_of, error_answer, stream_of
from llmproxy.provider_workers.bedrock_requests import READS, translate
from llmproxy.provider_workers.canonical import read
from llmproxy.provider_workers.wire import post


class Bedrock:
    name = "bedrock"
    default_url = ""  # There is one for each region.
    credential: Credential = "sigv4"
    capabilities = frozenset(Capability) - {Capability.CHOICES, Capability.LOGPROBS, Capability.IMAGE_URLS}
    natives: Mapping[Api, Wire] = {}

    def request(self, body: bytes, target: Target) -> HttpRequest:
        chat, dropped = read(body, vendor=VENDOR, reads=READS)
        made = translate(chat, target.model, dropped)
        return post(converse_url(target.url or self.default_url, target.model, target.stream), made, dropped)

    def response(self, body: bytes, request: Origin) -> Answer:
        return answer_of(body, request)

    def events(self, request: Origin) -> StreamTranslator:
        return stream_of(request)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return error_answer(status, headers, body)


@lru_cache(maxsize=1024)
def converse_url(base: str, model: str, stream: bool) -> str:
    """Ids of models hold colons, those of profiles slashes: quoted, so that they stay one step of the path."""
    at = urlsplit(base)
    path = f"{at.path.rstrip('/')}/model/{quote(model, safe='')}/{'converse-stream' if stream else 'converse'}"
    return urlunsplit((at.scheme, at.netloc, path, at.query, ""))
