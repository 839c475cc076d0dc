"""What server-sent events ask of their payload, whatever the dialect."""


def one_line(json: bytes) -> bytes:
    """A newline between JSON tokens would end the event; inside a string it is always escaped, so these are only space."""
    if b"\n" in json or b"\r" in json:
        return json.replace(b"\r", b" ").replace(b"\n", b" ")
    return json
