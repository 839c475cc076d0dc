"""Which spaCy model each language has on this machine, without importing spaCy: it takes seconds."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from llmproxy.common.pii import Pii
from llmproxy.common.policy import Policy, changed

PACKAGE = "presidio-analyzer"
SIZES = ("lg", "md", "sm")
CORPORA = {"en": "web", "zh": "web"}  # All others are trained on news.


def is_installed(name: str) -> bool:
    return find_spec(name) is not None


def model_of(language: str, has: Callable[[str], bool] = is_installed) -> str:
    """The largest model that is installed, else "" """
    corpus = CORPORA.get(language, "news")
    names = [f"{language}_core_{corpus}_{size}" for size in SIZES]
    return next((name for name in (*names, "xx_ent_wiki_sm") if has(name)), "")


def installed_version() -> str:
    """Presidio's, or "" where it is not installed."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return ""


def settings_of(policy: Policy) -> list[Pii]:
    """Every set of settings that the policy itself or one of its overrides names."""
    return list(dict.fromkeys((policy.pii, *(changed(policy, override).pii for override in policy.overrides))))


def note(settings: Pii, has: Callable[[str], bool] = is_installed, presidio: str | None = None) -> str:
    """What is in force, for operators: the engine, and for each language its model."""
    if settings.engine == "patterns":
        return "patterns and checksums; names, places and organisations are not looked for"
    presidio = installed_version() if presidio is None else presidio
    if not presidio:
        return f"{PACKAGE} is not installed, so requests that need it are refused; install llmproxy-shield[presidio]"
    models = {language: model_of(language, has) for language in settings.languages}
    said = ", ".join(f"{language}: {model or 'no model'}" for language, model in models.items())
    without = [language for language, model in models.items() if not model]
    missing = f"; names, places and organisations are not looked for in {', '.join(without)}" if without else ""
    own = f", {len(settings.recognizers)} recognizers of the policy" if settings.recognizers else ""
    return f"patterns and checksums, then {PACKAGE} {presidio} ({said}{own}){missing}"
