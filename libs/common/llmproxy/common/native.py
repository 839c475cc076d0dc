"""The functions that are written in C: one shared library, compiled when the package is installed (docs/adr/0017)."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).with_name("_native.so")


def function(name: str, result: Any, *arguments: Any, long: bool = False) -> Callable[..., Any]:
    """A C function by its name, with the types of its result and arguments. `long`: a call takes tens of microseconds or more, and
    lets other threads run meanwhile; for a short one that costs more than it gives."""
    try:
        library = ctypes.CDLL(str(LIBRARY)) if long else ctypes.PyDLL(str(LIBRARY))
    except OSError as error:
        raise ImportError(
            f"{LIBRARY.name} cannot be loaded: install llmproxy-common again, which compiles it"
            " (`uv sync --reinstall-package llmproxy-common`); it needs a C compiler"
        ) from error
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found  # type: ignore[no-any-return]
