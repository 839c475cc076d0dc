"""Provider keys: read where a reference points, at the moment of use, and shown to one origin only."""

import os
import re
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from llmproxy.common import auth, references
from llmproxy.common.config import Endpoint
from llmproxy.common.errors import GatewayError
from llmproxy.common.outbound import TEXT
from llmproxy.provider_workers import aws_keys, oauth
from llmproxy.provider_workers.adapters.base import Credential
from llmproxy.provider_workers.renewal import Ask, Fetched, Renewed
from llmproxy.provider_workers.sigv4 import AwsKeys, Scope, sign

FILE_BYTES_MAX = 16_384
SOURCES_MAX = 1_024  # Of endpoints that came and went; the ones in use are made again.
# What may stand in a header; a stray newline would start another one.
PRINTABLE = re.compile(r"[\x21-\x7e]+", re.ASCII)
BEDROCK_KEY = "AWS_BEARER_TOKEN_BEDROCK"


class Presented(Protocol):
    """How one endpoint is shown its credential."""

    @property
    def source(self) -> Renewed[Any] | None:
        """To be made `fresh` before each use; None when there is nothing to fetch."""
        ...

    @property
    def signer(self) -> "Signer | None":
        """Signs each request; None when a header is enough."""
        ...

    def header(self) -> tuple[str, str] | None:
        """The header that presents it; None where none is needed. Raises GatewayError provider_unauthorized."""
        ...


class Shown:
    """A key as it stands where its reference points. What stands in the environment (`lasts`) is looked up once."""

    __slots__ = ("_found", "_header", "_lasts")
    source = None
    signer = None

    def __init__(self, header: Callable[[], tuple[str, str] | None], *, lasts: bool = False) -> None:
        self._header, self._lasts = header, lasts
        self._found: tuple[str, str] | None = None

    def header(self) -> tuple[str, str] | None:
        if self._found is not None:
            return self._found
        found = self._header()
        if self._lasts:
            self._found = found
        return found


class Token:
    """A token that is fetched and runs out."""

    __slots__ = ("source",)
    signer = None

    def __init__(self, source: Renewed[str]) -> None:
        self.source = source

    def header(self) -> tuple[str, str]:
        return ("authorization", f"Bearer {self.source.value}")


class Signer:
    """AWS keys, wherever they come from."""

    __slots__ = ("_keys", "_now", "_scope", "source")

    def __init__(
        self,
        keys: Callable[[], AwsKeys],
        scope: Scope,
        now: Callable[[], float],
        source: Renewed[AwsKeys] | None = None,
    ) -> None:
        self._keys, self._scope, self._now, self.source = keys, scope, now, source

    @property
    def signer(self) -> "Signer":
        return self

    def header(self) -> None:
        return None

    def sign(
        self, method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes
    ) -> list[tuple[str, str]]:
        """The headers to add. Raises GatewayError provider_unauthorized."""
        return sign(method, path, query, headers, body, keys=self._keys(), scope=self._scope, now=self._now())


def lasts(reference: str) -> bool:
    """Whether what a reference points to stays what it is; a file may be written again."""
    return reference.startswith("env:")


class Credentials:
    """`env:NAME` is read from the environment; `file:PATH` again whenever the file has changed (mounted secrets rotate)."""

    def __init__(
        self,
        environment: Mapping[str, str],
        now: Callable[[], float] = time.time,
        directories: references.Directories = None,
    ) -> None:
        """`directories`: where files may be read, whoever names them; None leaves it to `confine`."""
        # What no reference may name is not here to be read, whatever a configuration gets past who checked it.
        self._environment = {name: text for name, text in environment.items() if not references.OWN.fullmatch(name)}
        self._now, self._directories, self._allowed = now, directories, directories
        self._files: dict[str, tuple[tuple[int, int], str]] = {}  # Path -> (modification time in ns, size), key.
        self._sources: dict[tuple[str, auth.Auth], Renewed[Any]] = {}  # They outlive a change of the configuration.

    def confine(self, *, named: bool) -> None:
        """For the configuration that is in force from now on. `named`: the operator wrote it."""
        allowed = references.within(self._directories, named=named)
        self._files.clear()  # Of an endpoint that is gone no key is kept.
        if allowed != self._allowed:
            self._allowed = allowed
            self._sources.clear()  # What was lent under the other rule is not lent under this one.

    def permit(self, endpoint: str, path: str) -> str:
        """The file that a configuration means, links resolved. Raises GatewayError provider_unauthorized."""
        if self._allowed is None:
            return path
        real = os.path.realpath(path)
        if references.is_below(path, self._allowed) and references.is_below(
            real, tuple(map(os.path.realpath, self._allowed))
        ):
            return real
        raise GatewayError(
            "provider_unauthorized", f"endpoint '{endpoint}': {path} {references.refusal(self._allowed)}"
        )

    def of(self, name: str, endpoint: Endpoint, usual: Credential) -> Presented:
        """How this endpoint is shown its credential; `usual` is its vendor's way, when the configuration has none."""
        kind = endpoint.auth
        match kind:
            case None if usual == "sigv4":
                return self._aws(name, endpoint)
            case None:
                return Shown(lambda: self.header(name, endpoint.key, usual), lasts=lasts(endpoint.key))
            case auth.NoAuth():
                return Shown(lambda: None)
            case auth.Bearer(key=key):
                return Shown(lambda: ("authorization", f"Bearer {self.secret(name, key)}"), lasts=lasts(key))
            case auth.Header(name=header, key=key):
                return Shown(lambda: (header.lower(), self.secret(name, key)), lasts=lasts(key))
            case auth.Basic(user=user, password=password):
                return Shown(lambda: self._basic(name, user, password))
            case auth.SigV4():
                return self._signer(name, kind, endpoint.region)
            case auth.OAuth() | auth.Entra() | auth.Google():
                return Token(self._renewed(name, kind, lambda ask: self._token(name, kind, ask)))

    def header(self, endpoint: str, reference: str, credential: Credential) -> tuple[str, str] | None:
        """The header that presents a key; None where none is needed. Raises GatewayError provider_unauthorized."""
        if credential == "none" or (credential == "bearer" and not reference):
            return None
        if not reference:
            raise GatewayError(
                "provider_unauthorized", f"endpoint '{endpoint}' has no key; set endpoints.{endpoint}.key"
            )
        key = self.secret(endpoint, reference)
        return ("authorization", f"Bearer {key}") if credential == "bearer" else (credential, key)

    def secret(self, endpoint: str, reference: str) -> str:
        """What may stand in a header. Raises GatewayError provider_unauthorized."""
        key = self._resolve(endpoint, reference)
        if not PRINTABLE.fullmatch(key):
            raise GatewayError(
                "provider_unauthorized",
                f"the key of endpoint '{endpoint}' ({reference}) has characters that no key has; write it again",
            )
        return key

    def text(self, endpoint: str, reference: str) -> str:
        """What may stand in a header beside the key, spaces included. Raises GatewayError provider_unauthorized."""
        found = self._resolve(endpoint, reference)
        if not TEXT.fullmatch(found):
            raise GatewayError(
                "provider_unauthorized",
                f"a header of endpoint '{endpoint}' ({reference}) has characters that no header has; write it again",
            )
        return found

    # -- kinds

    def _basic(self, endpoint: str, user: str, password: str) -> tuple[str, str]:
        name = self.secret(endpoint, user) if user.startswith(auth.REFERENCES) else user
        pair = f"{name}:{self._resolve(endpoint, password)}"
        return ("authorization", f"Basic {b64encode(pair.encode()).decode()}")

    def _aws(self, name: str, endpoint: Endpoint) -> Presented:
        """As AWS's own tools choose: an API key for Bedrock, where there is one, before keys that sign."""
        reference = endpoint.key or (f"env:{BEDROCK_KEY}" if self._environment.get(BEDROCK_KEY) else "")
        if reference:
            return Shown(lambda: self.header(name, reference, "bearer"))
        return self._signer(name, auth.SigV4(), endpoint.region)

    def _signer(self, name: str, kind: auth.SigV4, region: str) -> Signer:
        scope = Scope(region=kind.region or region, service=kind.service)
        if kind.source == "keys":
            return Signer(lambda: self._keys(name, kind), scope, self._now)
        source = self._renewed(name, kind, lambda ask: self._lent(name, kind, ask))
        return Signer(lambda: source.value, scope, self._now, source)

    def _keys(self, name: str, kind: auth.SigV4) -> AwsKeys:
        session = kind.session_token
        if not session and self._environment.get("AWS_SESSION_TOKEN"):
            session = "env:AWS_SESSION_TOKEN"
        return AwsKeys(
            access_key_id=self.secret(name, kind.access_key_id),
            secret_access_key=self.secret(name, kind.secret_access_key),
            session_token=self.secret(name, session) if session else "",
        )

    async def _lent(self, name: str, kind: auth.SigV4, ask: Ask) -> Fetched[AwsKeys]:
        if kind.source == "instance":
            return await aws_keys.from_instance(name, ask, self._now())
        return await aws_keys.from_container(
            name, self._environment, lambda path: self._read(name, "the container's token", path), ask, self._now()
        )

    async def _token(self, name: str, kind: auth.OAuth | auth.Entra | auth.Google, ask: Ask) -> Fetched[str]:
        match kind:
            case auth.OAuth():
                request = oauth.client_credentials(kind, self._resolve(name, kind.client_secret))
            case auth.Entra():
                request = oauth.entra(kind, self._resolve(name, kind.client_secret))
            case auth.Google():
                request = oauth.google(kind, self._account(name, kind.account), name, self._now())
        return oauth.token(name, request.url, *await ask(request))

    def _account(self, name: str, reference: str) -> str:
        """A file that the environment names is the operator's choice, whoever wrote the endpoint."""
        if reference:
            return self._resolve(name, reference)
        return self._read(name, f"env:{auth.GOOGLE_ACCOUNT}", self._environment.get(auth.GOOGLE_ACCOUNT, ""))

    def _renewed(self, name: str, kind: auth.Auth, fetch: Callable[[Ask], Awaitable[Fetched[Any]]]) -> Renewed[Any]:
        known = self._sources.get((name, kind))
        if known is None:
            if len(self._sources) >= SOURCES_MAX:
                self._sources.clear()
            known = self._sources[name, kind] = Renewed(fetch, self._now)
        return known

    # -- references

    def _resolve(self, endpoint: str, reference: str) -> str:
        scheme, _, name = reference.partition(":")
        if scheme == "env":
            key = self._environment.get(name, "")
            fix = f"export {name} for the provider workers and start them again; `llmproxy up` gives them what its own configuration names"
        else:
            key, fix = self._read(endpoint, reference, self.permit(endpoint, name)), f"write the key to {name}"
        if not key:
            raise GatewayError(
                "provider_unauthorized", f"the key of endpoint '{endpoint}' ({reference}) is not there; {fix}"
            )
        return key

    def _read(self, endpoint: str, reference: str, path: str) -> str:
        """A stat per use; the file only when it changed."""
        try:
            status = os.stat(path)
            version = (status.st_mtime_ns, status.st_size)  # Emptied and written within one tick, it is two versions.
            known = self._files.get(path)
            if known is not None and known[0] == version:
                return known[1]
            with open(path, encoding="ascii") as file:
                key = file.read(FILE_BYTES_MAX).strip()
        except (OSError, ValueError) as error:  # Not ASCII; a NUL in the path.
            raise GatewayError(
                "provider_unauthorized",
                f"the key of endpoint '{endpoint}' ({reference}) cannot be read: {type(error).__name__}",
            ) from error
        self._files[path] = (version, key)
        return key
