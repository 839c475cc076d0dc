"""Provider keys: read where a reference points, at the moment of use, and shown to one origin only."""

import os
import re
from collections.abc import Mapping

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters.base import Credential

FILE_BYTES_MAX = 16_384
PRINTABLE = re.compile(
    r"[\x21-\x7e]+", re.ASCII
)  # What may stand in a header; a stray newline would start another one.


class Credentials:
    """`env:NAME` is read from the environment; `file:PATH` again whenever the file has changed (mounted secrets rotate)."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._files: dict[str, tuple[int, str]] = {}  # Path -> modification time (ns), key.

    def header(self, endpoint: str, reference: str, credential: Credential) -> tuple[str, str] | None:
        """The header that presents the key; None where none is needed. Raises GatewayError provider_unauthorized."""
        if credential == "none" or (credential == "bearer" and not reference):
            return None
        if not reference:
            raise GatewayError(
                "provider_unauthorized", f"endpoint '{endpoint}' has no key; set endpoints.{endpoint}.key"
            )
        key = self._resolve(endpoint, reference)
        return ("authorization", f"Bearer {key}") if credential == "bearer" else (credential, key)

    def _resolve(self, endpoint: str, reference: str) -> str:
        scheme, _, name = reference.partition(":")
        key = self._environment.get(name, "") if scheme == "env" else self._read(endpoint, reference, name)
        if not key:
            fix = f"export {name}" if scheme == "env" else f"write the key to {name}"
            raise GatewayError(
                "provider_unauthorized", f"the key of endpoint '{endpoint}' ({reference}) is not there; {fix}"
            )
        if not PRINTABLE.fullmatch(key):
            raise GatewayError(
                "provider_unauthorized",
                f"the key of endpoint '{endpoint}' ({reference}) has characters that no key has; write it again",
            )
        return key

    def _read(self, endpoint: str, reference: str, path: str) -> str:
        """A stat per use; the file only when it changed."""
        try:
            changed_ns = os.stat(path).st_mtime_ns
            known = self._files.get(path)
            if known is not None and known[0] == changed_ns:
                return known[1]
            with open(path, encoding="ascii") as file:
                key = file.read(FILE_BYTES_MAX).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise GatewayError(
                "provider_unauthorized",
                f"the key of endpoint '{endpoint}' ({reference}) cannot be read: {type(error).__name__}",
            ) from error
        self._files[path] = (changed_ns, key)
        return key
