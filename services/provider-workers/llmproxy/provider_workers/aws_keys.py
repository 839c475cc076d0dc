"""AWS keys that are lent to the machine: asked of the container's or the instance's own credential service.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html,
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html (version 2 only: version 1
answers whoever can be made to send a GET).
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.renewal import Ask, Fetched
from llmproxy.provider_workers.sigv4 import AwsKeys
from llmproxy.provider_workers.wire import HttpRequest

CONTAINER_HOST = "http://169.254.170.2"
CONTAINER_HOSTS = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "127.0.0.1", "::1", "localhost"})
INSTANCE = "http://169.254.169.254"
SESSION_S = 300
ROLE = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)
PRINTABLE = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)


class KeysReply(Struct, frozen=True, rename="pascal"):
    access_key_id: str
    secret_access_key: str
    token: str = ""
    expiration: str = ""


REPLY = msgspec.json.Decoder(KeysReply)


def container_request(endpoint: str, environment: Mapping[str, str], read: Callable[[str], str]) -> HttpRequest:
    """What the container's variables ask for; `read` gives a file's text. Raises GatewayError."""
    url = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
    if relative := environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", ""):
        url = CONTAINER_HOST + relative
    at = urlsplit(url)
    if at.scheme != "https" and not (at.scheme == "http" and at.hostname in CONTAINER_HOSTS):
        raise unauthorized(endpoint, "the container's variables name no credential service that may be asked")
    file = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "")
    shown = read(file) if file else environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    if shown and not PRINTABLE.fullmatch(shown):
        raise unauthorized(endpoint, "the container's authorization token has characters that no header has")
    return HttpRequest(method="GET", url=url, headers=(("authorization", shown),) if shown else (), body=b"")


async def from_container(
    endpoint: str, environment: Mapping[str, str], read: Callable[[str], str], ask: Ask, now: float
) -> Fetched[AwsKeys]:
    status, body = await ask(container_request(endpoint, environment, read))
    return keys(endpoint, status, body, now)


async def from_instance(endpoint: str, ask: Ask, now: float) -> Fetched[AwsKeys]:
    seconds = (("x-aws-ec2-metadata-token-ttl-seconds", str(SESSION_S)),)
    session = await _text(
        endpoint, ask, HttpRequest(method="PUT", url=f"{INSTANCE}/latest/api/token", headers=seconds, body=b"")
    )
    headers = (("x-aws-ec2-metadata-token", session),)
    place = f"{INSTANCE}/latest/meta-data/iam/security-credentials/"
    role = await _text(endpoint, ask, HttpRequest(method="GET", url=place, headers=headers, body=b""))
    if not ROLE.fullmatch(role):
        raise unauthorized(endpoint, "the instance has no role")
    status, body = await ask(HttpRequest(method="GET", url=place + role, headers=headers, body=b""))
    return keys(endpoint, status, body, now)


def keys(endpoint: str, status: int, body: bytes, now: float) -> Fetched[AwsKeys]:
    try:
        reply = REPLY.decode(body)
        ends = datetime.fromisoformat(reply.expiration).timestamp() if reply.expiration else now + SESSION_S
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, OverflowError):
        raise unauthorized(endpoint, f"the credential service answered with status {status} and no keys") from None
    found = (reply.access_key_id, reply.secret_access_key, *filter(None, [reply.token]))
    if not 200 <= status < 300 or not all(PRINTABLE.fullmatch(one) for one in found):
        raise unauthorized(endpoint, f"the credential service answered with status {status} and no keys")
    lent = AwsKeys(
        access_key_id=reply.access_key_id, secret_access_key=reply.secret_access_key, session_token=reply.token
    )
    return Fetched(lent, max(ends - now, 0.0))


def unauthorized(endpoint: str, what: str) -> GatewayError:
    return GatewayError(
        "provider_unauthorized", f"endpoint '{endpoint}' got no AWS keys: {what}; check endpoints.{endpoint}.auth"
    )


async def _text(endpoint: str, ask: Ask, request: HttpRequest) -> str:
    status, body = await ask(request)
    try:
        text = body.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if status != 200 or not PRINTABLE.fullmatch(text):
        raise unauthorized(endpoint, f"the instance's metadata service answered with status {status}")
    return text
