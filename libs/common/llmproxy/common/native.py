"""The functions that are written in C: one shared library, compiled when the package is installed (docs/adr/0017)."""

import ctypes
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).with_name("_native.so")
SOURCES = Path(__file__).parents[2] / "native"
"""In a checkout; an installed package has none."""
AGAIN = "install llmproxy-common again, which compiles it (`uv sync --reinstall-package llmproxy-common`)"


def fingerprint(folder: Path) -> str:
    """Of the sources, as hatch_build.py has it."""
    return sha256(b"".join(one.read_bytes() for one in sorted(folder.glob("*.[ch]")))).hexdigest()


def check(library: Path, sources: Path) -> None:
    """Tables that C lays out otherwise than Python would be read beyond their ends: ImportError where the sources have changed since."""
    if not (library.exists() and (sources / "native.h").exists()):
        return
    known = fingerprint(sources)
    try:
        made_of = (ctypes.c_char * len(known)).in_dll(ctypes.PyDLL(str(library)), "llmproxy_made_of").value.decode()
    except OSError:
        return  # `function` says what to do.
    except ValueError:
        made_of = ""
    if made_of != known:
        raise ImportError(f"{library.name} was compiled from other sources than those in {sources}: {AGAIN}")


check(LIBRARY, SOURCES)


def call(name: str) -> Callable[..., Any]:
    """A function of native/calls.c, which Python calls as one of its own: for what every request needs."""
    find = function("llmproxy_call", ctypes.py_object, ctypes.c_char_p)
    return find(name.encode())  # type: ignore[no-any-return]


def function(name: str, result: Any, *arguments: Any, long: bool = False) -> Callable[..., Any]:
    """A C function by its name, with the types of its result and arguments. `long`: a call takes tens of microseconds or more, and
    lets other threads run meanwhile; for a short one that costs more than it gives."""
    try:
        library = ctypes.CDLL(str(LIBRARY)) if long else ctypes.PyDLL(str(LIBRARY))
    except OSError as error:
        raise ImportError(f"{LIBRARY.name} cannot be loaded: {AGAIN}; it needs a C compiler") from error
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found  # type: ignore[no-any-return]
