"""Presidio's analyzer for one set of settings. Importing it takes seconds, so that only the processes for large bodies do.

Nothing here opens a connection: where no model is installed, a tokenizer alone serves the recognizers and their context words, and the
list of public suffixes is the one in the package. Nothing it would log is logged, because that may quote the text.
"""

import logging
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, cast

import spacy
import tldextract
from msgspec import structs, to_builtins
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine, SpacyNlpEngine
from presidio_analyzer.recognizer_registry import RecognizerRegistryProvider
from presidio_analyzer.recognizer_registry.recognizers_loader_utils import RecognizerConfigurationLoader
from spacy.language import Language as Pipeline
from spacy.tokens import Doc

from llmproxy.common.entities import kind_of
from llmproxy.common.pii import Pii, Recognizer
from llmproxy.shield.presidio.models import model_of
from llmproxy.shield.verdict import Finding

ENGINES_MAX = 8  # Sets of settings that are in use at the same time: overrides may have their own.


WINDOW_CHARS, OVERLAP_CHARS = 4_000, 400
"""What Presidio sees at once: it compares every result with every other and every word, so a text of 300 KB took half a minute."""

QUIET = ("presidio-analyzer", "decision_process", "tldextract")


def isolate() -> None:
    """Of the whole process. Presidio's e-mail recognizer asks tldextract, which would fetch its list from the network."""
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class Installed(SpacyNlpEngine):  # type: ignore[misc]
    """spaCy with the models that are there, and with a tokenizer alone where there is none."""

    def load(self) -> None:
        self.nlp = {model["lang_code"]: _pipeline(model["lang_code"], model["model_name"]) for model in self.models}

    def _doc_to_nlp_artifact(self, doc: Doc, language: str) -> NlpArtifacts:
        for token in doc:
            # Without a model a word is its own lemma, and context needs one.
            token.lemma_ = token.lemma_ or token.lower_
        return super()._doc_to_nlp_artifact(doc, language)


def _pipeline(language: str, model: str) -> Pipeline:
    if model:
        return spacy.load(model)
    try:
        return spacy.blank(language)
    except ImportError:
        # Japanese, Korean, Thai and Vietnamese need tokenizers of their own, or spaCy does not know the language.
        return spacy.blank("xx")


def windows(length: int) -> Iterator[tuple[int, int]]:
    """Stretches that overlap by more than any finding has characters. What begins in an overlap is the later one's to find."""
    first = 0
    while first + WINDOW_CHARS < length:
        yield first, first + WINDOW_CHARS
        first += WINDOW_CHARS - OVERLAP_CHARS
    yield first, length


class Analyzer:
    """Findings of one text. `nlp` is Presidio's interface to a language model."""

    def __init__(self, settings: Pii, nlp: NlpEngine) -> None:
        isolate()
        self._settings = settings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That it adds the recognizer of a language model by itself.
            registry = RecognizerRegistryProvider(
                registry_configuration=_configuration(settings), nlp_engine=nlp
            ).create_recognizer_registry()
        self._engine = AnalyzerEngine(
            registry=registry, nlp_engine=nlp, supported_languages=list(settings.languages), log_decision_process=False
        )

        self._wanted = {language: self._of(language) for language in settings.languages}
        if settings.entities:  # Asked in a language for what it has no recognizer for, Presidio raises.
            self._wanted = {language: entities for language, entities in self._wanted.items() if entities}

    def _of(self, language: str) -> list[str]:
        """What is looked for in a language; nothing stands for all that there is."""
        has = self._engine.get_supported_entities(language)
        return [entity for entity in self._settings.entities if entity in has]

    def find(self, text: str) -> list[Finding]:
        return [
            structs.replace(one, start=first + one.start, end=first + one.end)
            for first, end in windows(len(text))
            for one in self._find(text[first:end])
            if end == len(text) or one.start < WINDOW_CHARS - OVERLAP_CHARS
        ]

    def _find(self, text: str) -> list[Finding]:
        return [
            Finding(kind_of(one.entity_type), one.start, one.end, score=round(min(one.score, 1.0), 4), rule=_rule(one))
            for language, entities in self._wanted.items()
            for one in self._engine.analyze(
                text, language=language, entities=entities or None, score_threshold=self._settings.score_min
            )
            if one.start < one.end
        ]

    def entities(self) -> set[str]:
        """All that is looked for, by Presidio's names."""
        return {entity for one in self._settings.languages for entity in self._engine.get_supported_entities(one)}


def _rule(result: Any) -> str:
    """Which recognizer: never which text."""
    return str((result.recognition_metadata or {}).get("recognizer_name", ""))[:64]


@lru_cache(ENGINES_MAX)
def analyzer(settings: Pii) -> Analyzer:
    """Made once for each set of settings; the first takes seconds."""
    models = [{"lang_code": one, "model_name": model_of(one)} for one in settings.languages]
    nlp = Installed(models=models)
    nlp.load()
    return Analyzer(settings, nlp)


def _configuration(settings: Pii) -> dict[str, Any]:
    """Presidio's own list, with the operator's after it; one that the operator names is switched on."""
    shipped = cast(dict[str, Any], RecognizerConfigurationLoader.get())
    own = {one.name: one for one in settings.recognizers}
    kept = [one for one in shipped["recognizers"] if _name(one) not in own]
    return {
        **shipped,
        "supported_languages": list(settings.languages),
        "recognizers": [*kept, *(_spelled(one, settings) for one in settings.recognizers)],
    }


def _name(shipped: Any) -> str:
    return shipped if isinstance(shipped, str) else str(shipped["name"])


def _spelled(one: Recognizer, settings: Pii) -> dict[str, Any]:
    spelled: dict[str, Any] = {**to_builtins(one), "type": one.type, "enabled": True}
    spelled.pop("supported_language", None)
    languages = [one.supported_language] if one.supported_language else list(settings.languages)
    context = spelled.pop("context", None)
    spelled["supported_languages"] = [
        {"language": language, "context": context} if context else {"language": language} for language in languages
    ]
    return spelled
