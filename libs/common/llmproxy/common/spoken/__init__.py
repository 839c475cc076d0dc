"""What is only spoken of, in other languages than English: secrets that a text guards, and words of others that it reports (docs/adr/0038).

Both the firewall, which rates such words lower, and the injection model, which reads a text without them, ask here.
"""

import re
from collections.abc import Iterable

from llmproxy.common.spoken import eastern, western

TURNED_BYTES_MAX = 64  # Before a guard.
ASKED_BYTES_MAX = 200  # Behind it.


ASKED = re.compile(
    rb"(?:[^.!?\n\xe3\xef]|\xe3(?!\x80\x82)|\xef(?!\xbc[\x81\x9f])){0,%d}(?:\?|\xef\xbc\x9f)" % ASKED_BYTES_MAX
)
NO_LETTER = re.compile(rb"(?:[\s.,;:!?(*_`]|\xe2\x80[\x93\x94\x98\x9c\x9e]|\xc2[\xa1\xab\xbf]|\xe3\x80[\x8c\x8e])?")
NEVER = re.compile(rb"(?!)")


class Language:
    def __init__(
        self,
        guards: Iterable[str],
        reports: Iterable[str],
        *,
        told_by: str,  # What stands in every guard and report: RE2's, as those are.
        turned: str,  # What stands right before a guard that is none: a second negation, `why`, `if`.
        followed: str = "",  # And what stands right behind one.
        has_spaces: bool = True,
    ) -> None:
        self.expressions = (*((one, True) for one in guards), *((one, False) for one in reports))
        """Each with whether it finds guards; for bytes in lower case."""
        self.told_by = told_by
        words = rf"(?<![\w\x80-\xff])(?:{turned})\s+(?:[^\s,.;:!?]+\s+)?\Z" if has_spaces else rf"(?:{turned})\s?\Z"
        self._turned = re.compile(words.encode())
        self._followed = re.compile(rf"\s*(?:{followed})".encode()) if followed else NEVER

    def meant(self, plain: bytes, start: int, end: int, *, is_guard: bool) -> tuple[int, int] | None:
        """Of what an expression has found, the very words; None where the contrary may be meant."""
        before = NO_LETTER.match(plain, start, end)
        start = before.end() if before else start
        end = start + len(plain[start:end].rstrip(b" \t\n.,;:!?)"))
        is_turned = is_guard and (
            self._turned.search(plain[max(0, start - TURNED_BYTES_MAX) : start]) is not None
            or self._followed.match(plain, end) is not None
            or ASKED.match(plain, end) is not None
        )
        return None if is_turned else (start, end)


LANGUAGES = {
    "de": Language(
        western.german_guards(),
        western.german_reports(),
        told_by=western.told_by(western.GERMAN) + "|niemandem|(?:^|[^n])weis|lehn",
        turned="nie|niemals|nicht|kein|keine|keinesfalls|ohne|vergiss|vergesst|vergessen sie|zögere|zögern sie|versäume|scheue dich|weigere dich|warum|wieso|weshalb|wenn|falls|hör|hör auf|statt",
        followed="(?:wörtlich |vollständig |ganz |komplett |jetzt |sofort )?(?:zu |auszu|preiszu|weiterzu|mitzu|herauszu|anzu|nicht|niemals|nie|will|kann|möcht|würd)",
    ),
    "fr": Language(
        western.french_guards(),
        western.reports(western.FRENCH),
        told_by=western.told_by(western.FRENCH) + "|n(?:e |'|’)",
        turned="ne|pas|jamais|sans|pourquoi|si|arrête de|cesse de|arrêtez de|cessez de|plus",
        followed="(?:pas|jamais)",
    ),
    "es": Language(
        western.guards(western.SPANISH),
        western.reports(western.SPANISH),
        told_by=western.told_by(western.SPANISH),
        turned="no|nunca|jamás|sin|por qué|si|deja de|dejes de",
    ),
    "pt": Language(
        western.guards(western.PORTUGUESE),
        western.reports(western.PORTUGUESE),
        told_by=western.told_by(western.PORTUGUESE),
        turned="não|nao|nunca|jamais|sem|por que|por quê|se|deixe de|pare de",
    ),
    "it": Language(
        western.guards(western.ITALIAN),
        western.reports(western.ITALIAN),
        told_by=western.told_by(western.ITALIAN),
        turned="non|mai|senza|perché|se|smetti di|smettere di",
    ),
    "ru": Language(
        western.guards(western.RUSSIAN),
        western.reports(western.RUSSIAN),
        told_by=western.told_by(western.RUSSIAN),
        turned="не|никогда|нельзя|без|почему|зачем|если|перестань|хватит",
    ),
    "zh": Language(
        eastern.CHINESE,
        eastern.CHINESE_REPORTS,
        told_by=eastern.CHINESE_TOLD_BY,
        turned="能|可|要|会|會|该|該|肯|敢|愿|願|是|得|不|没|沒|别|別|特|个|個|类|類|级|級|分|区|區|识|識|性|辨|差|停止|如果|若|要是|假如|一旦|除非|为什么|為什麼|为何|為何|何必|不要|不得|不能|不可|不许|不會|不会|请勿|切勿|不要再|别再|別再|不得再",
        followed="(?:的)?(?:话|話|就|以外|之外|是不|是错|是錯)|除外",
        has_spaces=False,
    ),
    "ja": Language(
        eastern.JAPANESE,
        eastern.JAPANESE_REPORTS,
        told_by=eastern.JAPANESE_TOLD_BY,
        turned="なぜ|どうして|もし|なぜあなたは",
        followed="と|なら|の(?:は|が|を|も|に|で)|のです|わけ|ければ|か|でしょう|限り|まま|理由|とは|くて|くな|だろう|はず|ば|つもり|では|じゃ|場合|は|も|が|に反対|必要",
        has_spaces=False,
    ),
    "ko": Language(
        eastern.KOREAN,
        eastern.KOREAN_REPORTS,
        told_by=eastern.KOREAN_TOLD_BY,
        turned="왜|만약|만일",
        followed=" ?(?:면|고는|라고|라는|까|나요|는가|을까|는지|는 것|을 이유|이유|말고|고 (?:하지|말하지))",
        has_spaces=False,
    ),
}
"""By what their signatures' ids begin with."""
