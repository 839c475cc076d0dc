"""W3C trace context from the caller, if it is one. https://www.w3.org/TR/trace-context/"""

import re

PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def parent(value: str) -> str:
    """The header as it came, or "" when it is not well-formed."""
    return value if value and PARENT.fullmatch(value) else ""
