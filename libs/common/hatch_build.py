"""Compiles native/*.c into the package when it is built or installed. Needs a C compiler and nothing else: not even Python's headers."""

import os
import shlex
import subprocess
import sys
import sysconfig
from hashlib import sha256
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = "native"
LIBRARY = "llmproxy/common/_native.so"
FLAGS = (
    *(
        "-std=c11",
        "-O3",
        "-Wall",
        "-Wextra",
        "-Werror=incompatible-pointer-types",
        "-Werror=implicit-function-declaration",
    ),
    *("-fPIC", "-shared", "-fvisibility=hidden", "-fstack-protector-strong"),
    # calls.c asks Python, which is there by then.
    *(("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()),
)
"""No -march: the library runs on every machine of its kind, not only on the one that compiled it."""


class NativeLibrary(BuildHookInterface):  # type: ignore[misc]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        library = root / LIBRARY
        compile_library(sorted((root / SOURCES).glob("*.c")), library)
        build_data["artifacts"].append(LIBRARY)
        build_data["pure_python"] = False
        # Loaded with ctypes, so it fits every version of Python on this platform.
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def fingerprint(folder: Path) -> str:
    """As common/native.py has it, which compares the two."""
    return sha256(b"".join(one.read_bytes() for one in sorted(folder.glob("*.[ch]")))).hexdigest()


def compile_library(sources: list[Path], library: Path) -> None:
    """Replaces the library in one step: a process that has loaded the old one keeps it."""
    fresh = library.with_name(f"{library.name}.{os.getpid()}")
    made_of = f'-DMADE_OF="{fingerprint(sources[0].parent)}"'
    command = [*shlex.split(os.environ.get("CC", "cc")), *FLAGS, made_of, "-o", str(fresh), *map(str, sources)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own arguments
    except FileNotFoundError:
        raise SystemExit(
            f"llmproxy-common needs a C compiler, and there is no {command[0]!r}: install one"
            " (Debian: apt install gcc libc6-dev; Fedora: dnf install gcc; Alpine: apk add gcc musl-dev;"
            " macOS: xcode-select --install), or name yours in CC"
        ) from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"{shlex.join(command)} failed; on Debian it takes gcc and libc6-dev\n{error.stderr}"
        ) from None
    fresh.replace(library)
