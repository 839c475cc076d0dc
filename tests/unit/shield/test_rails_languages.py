"""Languages and scripts: told where they can be told, and nobody is refused for a name, a number or code."""

import json
from typing import Any

import pytest

from llmproxy.common.rails import LANGUAGES, SCRIPTS, LanguageRule
from llmproxy.common.segments import Segment
from llmproxy.shield.guards.base import Apart
from llmproxy.shield.guards.language import Language
from llmproxy.shield.rails import languages
from llmproxy.shield.verdict import Allow

TEXTS = {
    "en": "Could you please tell me how the new system will work when we have more than one person in the team?",
    "de": "Kannst du mir bitte erklären, wie das neue System funktioniert und was ich dabei beachten muss, wenn wir mehr Leute haben?",
    "fr": "Pouvez-vous m'expliquer comment fonctionne le nouveau système et ce que je dois faire pour que les équipes puissent l'utiliser ?",
    "es": "¿Puedes explicarme cómo funciona el nuevo sistema y qué debo hacer para que los equipos lo puedan usar sin problemas?",
    "pt": "Você pode me explicar como funciona o novo sistema e o que devo fazer para que as equipes possam usar sem problemas?",
    "it": "Puoi spiegarmi come funziona il nuovo sistema e che cosa devo fare per far sì che le squadre lo usino senza problemi?",
    "nl": "Kun je mij uitleggen hoe het nieuwe systeem werkt en wat ik moet doen zodat de teams het zonder problemen kunnen gebruiken?",
    "ru": "Можешь объяснить мне, как работает новая система и что я должен сделать, чтобы все команды могли её использовать без проблем?",
    "uk": "Чи можеш пояснити мені, як працює нова система і що я маю зробити, щоб усі команди могли її використовувати без проблем?",
    "zh": "请你给我解释一下新的系统是怎么工作的,我需要做什么才能让所有团队都可以使用它呢?谢谢你",
    "ja": "新しいシステムがどのように動作するのか、すべてのチームが使えるようにするために何をすべきか説明してください。",
    "ko": "새로운 시스템이 어떻게 작동하는지 그리고 모든 팀이 문제없이 사용할 수 있도록 무엇을 해야 하는지 설명해 주세요.",
    "el": "Μπορείς να μου εξηγήσεις πώς λειτουργεί το νέο σύστημα και τι πρέπει να κάνω για όλες τις ομάδες;",
    "hi": "क्या आप मुझे बता सकते हैं कि नई प्रणाली कैसे काम करती है और मुझे क्या करना चाहिए?",
    "th": "ช่วยอธิบายให้ฉันฟังหน่อยว่าระบบใหม่ทำงานอย่างไรและฉันต้องทำอะไรบ้าง",
}

NO_LANGUAGE = {
    "short": "Bonjour, ça va?",
    "numbers": "12 34 56 78 90 " * 20,
    "code": "def f(x):\n    if x in y and not z:\n        return [a for a in b if a is not None]\nfor i in range(10):\n    print(f(i))",
    "fenced": "```\n" + "the of and to in is that it was for on are\n" * 5 + "```",
    "names": "Łukasz Żółkiewski Andrzej Wiśniewski Katarzyna Dąbrowska Piotr Kowalczyk Agnieszka Wójcik Tomasz Kamiński Ewa Zielińska",
    "nothing": "",
}


@pytest.mark.parametrize("language", TEXTS)
def test_a_sentence_is_in_its_language(language: str) -> None:
    assert languages.language(TEXTS[language]) == language


@pytest.mark.parametrize("what", NO_LANGUAGE)
def test_what_cannot_be_told_is_in_no_language(what: str) -> None:
    assert languages.language(NO_LANGUAGE[what]) == ""


def finds(text: str, role: str = "user", **settings: Any) -> list[str]:
    verdict = Language(LanguageRule(**settings)).inspect(Segment(role=role, path="p", text=text))
    return [] if isinstance(verdict, Allow) else [f"{one.action} {one.rule}" for one in verdict.findings]


def test_a_language_that_is_not_allowed_is_named_in_the_record() -> None:
    assert finds(TEXTS["fr"], languages=("en", "de"), action="reject") == ["block fr"]
    assert finds(TEXTS["de"], languages=("en", "de"), action="reject") == []


def test_it_is_about_the_texts_of_some_roles() -> None:
    assert finds(TEXTS["fr"], role="tool", languages=("en",)) == []
    assert finds(TEXTS["fr"], role="tool", languages=("en",), roles=("tool",)) == ["flag fr"]


def test_the_quick_look_is_at_each_text_by_itself() -> None:
    guard = Language(LanguageRule(languages=("en",)))
    assert isinstance(guard, Apart)
    assert guard.may_hold(TEXTS["fr"])
    assert not guard.may_hold(TEXTS["en"])
    assert guard.may_hold(json.dumps({"text": TEXTS["fr"]}))


def test_a_script_counts_when_there_is_more_of_it_than_a_name() -> None:
    assert finds(TEXTS["ru"], scripts=("Latin",)) == ["flag Cyrillic"]
    assert finds(f"{TEXTS['en']} It is called Правда.", scripts=("Latin",)) == []
    assert finds(f"{TEXTS['en']} {TEXTS['ru']}", scripts=("Latin", "Cyrillic")) == []


@pytest.mark.parametrize(
    "code", ["```\n{}\n```", "```python\n# {}", "`{}`", "x[0] = {{'a': \"{}\"}};" + "{{}}();" * 20]
)
def test_a_script_counts_in_code_too(code: str) -> None:
    assert finds(code.format(TEXTS["ru"]), scripts=("Latin",)) == ["flag Cyrillic"]
    assert finds(code.format(TEXTS["en"]), scripts=("Latin",)) == []


@pytest.mark.parametrize("before", [4_000, 5_900, 7_000, 20_000])
@pytest.mark.parametrize("behind", [0, 9_000])
def test_a_long_text_is_judged_behind_its_beginning_too(before: int, behind: int) -> None:
    english = f"{TEXTS['en']} " * (20_000 // len(TEXTS["en"]))
    text = english[:before] + f"{TEXTS['de']} " * 40 + english[:behind]
    assert finds(text, languages=("en",)) == ["flag de"]
    assert finds(text, languages=("en", "de")) == []
    assert finds(english[:before] + f"{TEXTS['ru']} " * 20 + english[:behind], scripts=("Latin",)) == ["flag Cyrillic"]


def test_what_is_long_is_looked_at_elsewhere() -> None:
    guard = Language(LanguageRule(languages=("en",)))
    text = f"{TEXTS['en']} " * 300
    assert (guard.may_hold(text), guard.is_quick(text)) == (True, False)
    assert (guard.may_hold(text[:9_000]), guard.is_quick(text[:9_000])) == (False, True)


def test_what_can_be_told_and_what_may_be_configured_are_the_same() -> None:
    told = {name for name, _, _ in languages._lists()} | set(languages.ALONE.values())
    assert told == set(LANGUAGES)
    assert set(languages.SCRIPT_OF.values()) == set(SCRIPTS)
