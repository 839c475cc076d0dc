"""Writes libs/common/llmproxy/common/signatures.bin: what is derived from the signatures, so that no process that starts has to do it.

python tools/prepare_signatures.py      (after every change of signatures*.yaml, or of how they are read)
"""

from pathlib import Path

from llmproxy.common import signatures

FILE = Path(signatures.__file__).with_name(signatures.PREPARED)


def main() -> None:
    FILE.write_bytes(signatures.pack(signatures.prepare(signatures.shipped())))


if __name__ == "__main__":
    main()
