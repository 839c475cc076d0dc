"""Addresses of crypto currencies."""

import re
from collections.abc import Iterator
from hashlib import sha256

from llmproxy.shield import glance
from llmproxy.shield.personal.page import Page
from llmproxy.shield.verdict import Finding

WALLET_CHARS_MIN = 26
WALLET = re.compile(
    r"(?<![A-Za-z0-9])(?:0x[0-9a-fA-F]{40}|(?:bc1|tb1|ltc1)[02-9ac-hj-np-z]{23,71}|([13LMDT][1-9A-HJ-NP-Za-km-z]{25,34})|4[0-9AB][1-9A-HJ-NP-Za-km-z]{93})(?![A-Za-z0-9])"
)
WALLET_WORDS = (b"btc", b"bitcoin", b"wallet", b"crypto", b"litecoin", b"doge", b"tron", b"usdt", b"ltc")
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def find(page: Page) -> Iterator[Finding]:
    """https://en.bitcoin.it/wiki/Base58Check_encoding, BIP 173, https://ethereum.org/en/developers/docs/accounts/"""
    for first, end in glance.long_words(page.data, WALLET_CHARS_MIN):
        for match in WALLET.finditer(page.text, first, end):
            if not match[1] or is_base58_checked(match[1]) or _is_said_a_wallet(page, match.start(), match[1]):
                yield Finding("crypto", *match.span())


def _is_said_a_wallet(page: Page, start: int, address: str) -> bool:
    before = page.before(start)
    return any(word in before for word in WALLET_WORDS) and any(one.isdecimal() for one in address[1:])


def is_base58_checked(address: str) -> bool:
    """The last four bytes are the beginning of the double SHA-256 of the others."""
    value = 0
    for character in address:
        value = value * 58 + BASE58.index(character)
    raw = value.to_bytes(25, "big") if value.bit_length() <= 200 else b""
    return bool(raw) and sha256(sha256(raw[:-4]).digest()).digest()[:4] == raw[-4:]
