"""Writes what is derived from signatures, so that no process that starts has to do it: libs/common/llmproxy/common/signatures.bin, and
in services/shield/llmproxy/shield/injection talk.bin of what is only spoken of and definitions.bin of what no tool's description says.

python tools/prepare_signatures.py      (after every change of signatures*.yaml, definitions.yaml, talk.py or spoken/, or of how they are read)
"""

from pathlib import Path

from llmproxy.common import signatures
from llmproxy.shield.injection import definitions, talk

FILE = Path(signatures.__file__).with_name(signatures.PREPARED)
TALK = Path(talk.__file__).with_name(talk.PREPARED)
DEFINITIONS = Path(definitions.__file__).with_name(definitions.PREPARED)


def main() -> None:
    FILE.write_bytes(signatures.pack(signatures.prepare(signatures.shipped()), signatures.fingerprint()))
    TALK.write_bytes(signatures.pack(talk.prepare(), talk.fingerprint()))
    DEFINITIONS.write_bytes(signatures.pack(signatures.prepare(definitions.shipped()), definitions.fingerprint()))


if __name__ == "__main__":
    main()
