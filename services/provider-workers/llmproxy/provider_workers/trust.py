"""Certificates of endpoints: whom each believes and as whom it comes, read again when the files change."""

import os
import ssl
import time
from collections.abc import Callable

from llmproxy.common.errors import GatewayError
from llmproxy.common.outbound import Tls

LOOK_AGAIN_S = 30.0  # How long a renewed certificate may go unnoticed; a stat for every call would be too much.
KEPT_MAX = 256
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

Times = tuple[int, ...]


class Trust:
    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._known: dict[Tls, tuple[float, Times, ssl.SSLContext]] = {}

    def of(self, endpoint: str, tls: Tls) -> ssl.SSLContext:
        """The same context until a file has changed, so that connections are reused. Raises GatewayError."""
        known, now = self._known.get(tls), self._now()
        if known is not None and now < known[0]:
            return known[2]
        try:
            times = tuple(os.stat(path).st_mtime_ns for path in tls.files.values())
            made = known[2] if known is not None and known[1] == times else context(tls)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError.
            raise GatewayError(
                "provider_unreachable",
                f"endpoint '{endpoint}' cannot be called: the files of endpoints.{endpoint}.tls cannot be used"
                f" ({type(error).__name__})",
            ) from error
        if len(self._known) >= KEPT_MAX:
            self._known.clear()
        self._known[tls] = (now + LOOK_AGAIN_S, times, made)
        return made


def context(tls: Tls | None = None) -> ssl.SSLContext:
    """Raises OSError or ValueError of files that are not there or not PEM."""
    if tls is None:
        tls = Tls()
    made = ssl.create_default_context(cafile=tls.ca_file or None)
    made.minimum_version = VERSIONS[tls.minimum]
    made.set_alpn_protocols(["http/1.1"])
    if tls.certificate_file:
        # A key that is itself encrypted would make OpenSSL ask at the terminal.
        made.load_cert_chain(tls.certificate_file, tls.key_file or None, password="")
    return made
