"""What a reference of the configuration may read: a variable that is no setting of ours, a file where the operator says (docs/adr/0030)."""

import posixpath
import re

from llmproxy.common import auth, outbound

VARIABLE = "LLM_PROXY_SECRET_DIRS"
OWN = re.compile(r"LLM_PROXY_(?!ENDPOINT_\w+_KEY\Z)\w*|(?:HTTPS?|ALL|NO)_PROXY", re.ASCII | re.IGNORECASE)
"""Our own settings, and how the outside is reached: passwords among them, and no endpoint's key."""

Directories = tuple[str, ...] | None
"""Where files may be read; None: nobody has said, and it depends on who wrote the configuration."""


def directories(text: str) -> Directories:
    """Of the variable, comma-separated. Raises ValueError naming what is not absolute."""
    found = tuple(posixpath.normpath(part.strip()) for part in text.split(",") if part.strip())
    for one in found:
        if not one.startswith("/"):
            raise ValueError(f"{VARIABLE}: {one!r} is not an absolute path; write one such as /run/secrets")
    return found or None


def within(given: Directories, *, named: bool) -> Directories:
    """What holds for a configuration. `named`: the operator wrote it, in the file or the environment."""
    return given if given is not None or named else ()


def is_below(path: str, allowed: Directories) -> bool:
    """By its spelling alone; who opens it resolves links first and asks again."""
    if allowed is None:
        return True
    whole = posixpath.normpath(path)
    return whole.startswith("/") and any(posixpath.commonpath((whole, one)) == one for one in allowed)


def refusal(allowed: Directories) -> str:
    """Why a file may not be read, with the fix."""
    move = f", or move it below {' or '.join(allowed)}" if allowed else ", or use env:NAME"
    return (
        f"is a file that may not be read; name its directory in {VARIABLE} of the provider workers and of admin{move}"
    )


def written(
    key: str, kind: auth.Auth | None, proxy: outbound.Proxy | None, headers: outbound.HeaderRules
) -> dict[str, str]:
    """Field of an endpoint -> the reference in it, defaults included."""
    fields = {"key": key, "proxy.password": proxy.password if proxy is not None else ""}
    fields |= {f"headers.{name}": value for name, value in headers.values.items()}
    if kind is not None:
        fields |= {f"auth.{field}": text for field, text in auth.references(kind).items()}
    return {field: text for field, text in fields.items() if text.startswith(auth.REFERENCES)}


def files(references: dict[str, str], tls: outbound.Tls | None) -> dict[str, str]:
    """Field of an endpoint -> the path that it makes a provider worker read."""
    found = {field: text.removeprefix("file:") for field, text in references.items() if text.startswith("file:")}
    if tls is not None:
        found |= {f"tls.{field}": path for field, path in tls.files.items()}
    return found
