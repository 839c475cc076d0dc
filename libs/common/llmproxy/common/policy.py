"""What the guards do with what they find, as operators configure it, and what of that applies to which request.

A policy has areas, a field each. An override changes any part of any area for the requests that it names; its shape is made from
`Policy` itself, so a new area can be overridden as soon as it is there (docs/adr/0018).
"""

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct, structs

from llmproxy.common.actions import Action, Probability
from llmproxy.common.answers import Answers
from llmproxy.common.embedding import Embedding
from llmproxy.common.entities import BY_MODEL, SWITCHED_OFF, SWITCHED_ON, kind_of
from llmproxy.common.envelope import Api, Envelope
from llmproxy.common.judge import Judge
from llmproxy.common.mistakes import meant
from llmproxy.common.pii import Pii
from llmproxy.common.rails import Rails
from llmproxy.common.secret_kinds import SECRET_KINDS

S = TypeVar("S", bound=Struct)

PII_KINDS = (
    "email", "phone", "us_ssn", "credit_card", "iban", "ip_address", "mac_address", "crypto", "date_of_birth", "passport",
    "driver_license", "medical_record", "bank_account", "us_itin", "uk_nino", "uk_nhs", "uk_sort_code", "ca_sin", "au_tfn",
    "au_medicare", "au_abn", "in_aadhaar", "in_pan", "de_tax_id", "fr_nir", "es_nif", "it_fiscal_code", "nl_bsn", "pl_pesel",
    "eu_vat", "swift_bic", "license_plate",
    "be_nrn", "pt_nif", "ie_pps", "se_personnummer", "dk_cpr", "fi_hetu", "cz_rodne_cislo", "ro_cnp", "bg_egn", "gr_afm", "gr_amka",
    "hr_oib", "at_svnr", "hu_taj", "ee_isikukood", "lt_asmens_kodas", "si_emso", "lv_personas_kods",
    "de_rvnr", "de_id_card", "br_cpf", "cn_id", "jp_my_number", "kr_rrn", "ru_snils",
    "medical_license", "person", "location", "organization", "nrp", "date_time", "url", "uuid",
)  # fmt: skip
"""The last eight come from Presidio alone (docs/adr/0020); what an operator's recognizer finds is `pii.<its entity>`."""
SECRET = "secret"  # noqa: S105 - the name of a kind, not a secret
KINDS = (*PII_KINDS, SECRET)
INJECTION = "injection"
"""A kind of its own: the guard says how likely it is, and `Policy.injection` what follows."""

TRAJECTORY = f"{INJECTION}.trajectory"
"""Several turns of one conversation, each of them below its threshold (docs/policy.md)."""

SHADOW = f"{INJECTION}.shadow"

Mode = Literal["block", "alert", "flag", "shadow", "disabled"]
"""block: refuse the request; flag: let it pass and record it; alert: the same, and operators see it at once; shadow: as flag,
but recorded as `injection.shadow`, to try thresholds on real traffic; disabled: do not look."""


THRESHOLDS = {
    "user": "user",
    "assistant": "assistant",
    "parameter": "parameter",
    **dict.fromkeys(("tool", "function", "definition"), "tool"),
    **dict.fromkeys(("system", "developer"), "system"),
    "unknown": "tool",
}
"""The role of a segment -> the threshold that it is held to. What tools are said to do is as foreign as what they return, and a
role that no API has is nobody's word."""


class Injection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """From which probability on a text counts as an injection, by whose text it is.

    The defaults are the model card's (docs/models/injection.md): at most 1 % false alarms on ordinary texts and 5 % on hard
    ones. What a tool returns has no business giving orders, so less is needed; the operator's own prompts often say what
    must not be revealed, so more is.
    """

    mode: Mode = "block"
    user: Probability = 0.48
    assistant: Probability = 0.48  # What a model is said to have answered before.
    tool: Probability = 0.38  # Tool results, retrieved content, descriptions of tools, and roles that no API has.
    system: Probability = 0.95  # System and developer messages.
    parameter: Probability = 0.48  # Whatever else a body holds: metadata, stop sequences, object keys.
    trajectory: Probability = 0.8  # Of the user's turns of one conversation together; 1: each by itself.
    embedding: Embedding = Embedding()  # Which of those below the threshold a local model looks at, too.
    judge: Judge = Judge()  # Who is asked about what is below the threshold, and not far.

    def threshold(self, role: str) -> float:
        named: float = getattr(self, THRESHOLDS.get(role, "user"))
        return named

    def problem(self) -> tuple[str, str] | None:
        """What is wrong beyond types, and the fix."""
        wrong = self.judge.problem()
        return (f"judge.{wrong[0]}", wrong[1]) if wrong is not None else None


ALLOWED = frozenset({"au_abn", "swift_bic", "license_plate", "date_time", "url", "uuid"})
"""Kinds that are let pass unless the policy names them: public registers' numbers of companies and banks, number plates, which no
checksum tells from an article number, and what says nothing about anybody by itself."""


class When(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which requests: each condition that is given holds, by any one of its values. A value may end in `*`."""

    tenants: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()  # Their public ids.
    principals: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()  # Of the principal; any one of them.
    apis: tuple[Api, ...] = ()
    models: tuple[str, ...] = ()  # As the caller wrote them.


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Per kind of finding; kinds not named here are masked, or let pass when they are in `ALLOWED`.

    An area with a struct of its own may have `problem() -> tuple[str, str] | None`: what is wrong beyond types, and the fix.
    """

    kinds: dict[str, Action] = {}
    injection: Injection = Injection()
    answers: Answers = Answers()  # What is looked for in what comes back.
    pii: Pii = Pii()
    rails: Rails = Rails()  # What operators look for themselves.
    signed: Literal["leave", "block"] = "leave"  # What is found in thinking that a provider signed: docs/adr/0013.
    unreadable: Literal["block", "allow"] = "block"  # Prompts that come as token ids, which no guard can read.
    # Of the whole chain for one request; then it fails closed.
    guard_timeout_ms: Annotated[int, Meta(ge=1, le=86_400_000)] = 2_000
    overrides: tuple["Override", ...] = ()  # In order: where two change the same, the later one holds.

    def action(self, kind: str) -> Action:
        """What follows a finding in a request: the kind's own action, else that of all secrets, else the default."""
        named = self.kinds.get(kind)
        if named is not None:
            return named
        if kind.startswith(INJECTION):
            return (
                self.injection.mode
                if self.injection.mode in ("block", "alert") and kind in (INJECTION, TRAJECTORY)
                else "flag"
            )
        if kind.startswith(f"{SECRET}."):
            return self.kinds.get(SECRET, "mask")
        return "allow" if kind in ALLOWED else "mask"


def _changes(kind: type[Struct], without: str = "") -> list[tuple[str, Any, Any]]:
    """Every field of a struct, optional, and so on inside structs: what an override may say."""
    hints = get_type_hints(kind, localns={"Override": Any}, include_extras=True)
    return [(name, _optional(hint), UNSET) for name, hint in hints.items() if name != without]


def _optional(hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, Struct):
        hint = defstruct(
            f"{hint.__name__}Changes",
            _changes(hint),
            frozen=True,
            kw_only=True,
            forbid_unknown_fields=True,
            omit_defaults=True,
            module=__name__,
        )
    return hint | UnsetType


if TYPE_CHECKING:
    _Changes = Struct
else:
    _Changes = defstruct("_Changes", _changes(Policy, "overrides"), kw_only=True, module=__name__)


class Override(_Changes, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """For some requests: any part of `Policy`. What it does not say stays as it is."""

    when: When


OVERRIDES_MAX = 256
KIND_LIKE = 0.7  # There are so many that names of others share their letters by chance.
NAMEABLE = (
    f"; one of {', '.join(KINDS)}, secret.<name> of docs/secrets.md, or pii.<entity> of one of policy.pii.recognizers"
)
VALUES_MAX = 4_096  # Of one condition.


def problems(policy: Policy) -> Iterator[tuple[str, str]]:
    """What types cannot say: where in the policy, and what to do."""
    all_changed = [changed(policy, override) for override in policy.overrides[:OVERRIDES_MAX]]
    kinds = _known_kinds(policy, *all_changed)
    yield from _problems(policy, kinds)
    if len(policy.overrides) > OVERRIDES_MAX:
        yield "overrides", f"at most {OVERRIDES_MAX}; put tenants or keys that share one into its lists"
    for index, (override, its) in enumerate(zip(policy.overrides, all_changed, strict=False)):
        at = f"overrides[{index}]"
        for where, wrong in (*_of_when(override.when), *_of_change(override)):
            yield f"{at}.{where}".rstrip("."), wrong
        for where, wrong in _problems(its, kinds):
            yield f"{at}.{where}", wrong


def _known_kinds(*policies: Policy) -> frozenset[str]:
    """All that can be found under one of them: whose recognizers may be another's than whose kinds name what they find."""
    entities = {one.supported_entity for policy in policies for one in policy.pii.recognizers} - {""}
    entities |= {*BY_MODEL, *SWITCHED_ON.values(), *SWITCHED_OFF.values()}
    return frozenset((*KINDS, *(f"{SECRET}.{name}" for name in SECRET_KINDS), *map(kind_of, entities)))


def _problems(policy: Policy, known: frozenset[str]) -> Iterator[tuple[str, str]]:
    for at, kinds in (("kinds", policy.kinds), ("answers.kinds", policy.answers.kinds)):
        for kind in kinds:
            if kind not in known:
                yield f"{at}.{kind}", f"unknown kind{meant(kind, known, KIND_LIKE) or NAMEABLE}"
    for area in policy.__struct_fields__:
        check: Callable[[], tuple[str, str] | None] | None = getattr(getattr(policy, area), "problem", None)
        wrong = check() if check is not None else None
        if wrong is not None:
            yield f"{area}.{wrong[0]}", wrong[1]


def _of_when(when: When) -> Iterator[tuple[str, str]]:
    given = {name: getattr(when, name) for name in when.__struct_fields__ if getattr(when, name)}
    if not given:
        yield "when", f"names nobody; write what is for all into policy itself, or one of {', '.join(CONDITIONS)}"
    for name, values in given.items():
        if len(values) > VALUES_MAX:
            yield f"when.{name}", f"at most {VALUES_MAX} values"
        for value in values:
            if not value or "*" in value[:-1]:
                yield f"when.{name}", f"{value!r}: write a name, or its beginning and one * at the end"


def _of_change(override: Override) -> Iterator[tuple[str, str]]:
    areas = [name for name in Policy.__struct_fields__ if name != "overrides"]
    if all(getattr(override, area) is UNSET for area in areas):
        yield "", f"changes nothing; write one of {', '.join(areas)} beside when, or remove it"


def changed(settings: S, changes: Struct) -> S:
    """The settings with what an override says in their place: structs field by field, mappings name by name, the rest whole."""
    said: dict[str, Any] = {}
    for name in changes.__struct_fields__:
        change = getattr(changes, name)
        if change is UNSET or name not in settings.__struct_fields__:
            continue
        known = getattr(settings, name)
        if isinstance(change, Struct) and isinstance(known, Struct) and type(change) is not type(known):
            change = changed(known, change)
        elif isinstance(change, Mapping):
            change = {**known, **change}
        said[name] = change
    return structs.replace(settings, **said)


# -- which policy applies

CONDITIONS = {
    "tenants": "tenant",
    "keys": "key",
    "principals": "principal",
    "roles": "roles",
    "apis": "api",
    "models": "model",
}
"""A condition -> the envelope's field that it is about."""

POLICIES_KEPT_MAX = 4_096
"""Answers kept by a resolver. Callers choose the model's name, so there can be more; those cost a walk over the overrides."""


class Policies:
    """The policy of each request under one configuration. A request costs one lookup by the few values that decide."""

    __slots__ = ("_decisive", "_is_by_api", "_known", "_made", "_matches", "_overrides", "configured", "default")

    def __init__(self, policy: Policy) -> None:
        self.configured = policy
        self.default = structs.replace(policy, overrides=()) if policy.overrides else policy
        self._overrides = policy.overrides
        self._matches = tuple(_matcher(override.when) for override in policy.overrides)
        fields = [
            field
            for condition, field in CONDITIONS.items()
            if any(getattr(override.when, condition) for override in policy.overrides)
        ]
        rails = (policy.rails, *(changed(policy, override).rails for override in policy.overrides))
        self._is_by_api = any(one.is_by_api for one in rails)
        if self._is_by_api and "api" not in fields:
            fields.append("api")
        self._decisive: Callable[[Envelope], Any] = attrgetter(*fields) if fields else _nothing
        self._known: dict[Any, Policy] = {}
        self._made: dict[tuple[Any, ...], Policy] = {}  # The same object for the same overrides.

    def of(self, envelope: Envelope) -> Policy:
        """What applies to this request; it has no overrides of its own."""
        if not (self._overrides or self._is_by_api):
            return self.default
        decisive = self._decisive(envelope)
        known = self._known.get(decisive)
        if known is None:
            if len(self._known) >= POLICIES_KEPT_MAX:
                self._known.clear()
            known = self._known[decisive] = self._resolve(envelope)
        return known

    def _resolve(self, envelope: Envelope) -> Policy:
        applying = tuple(index for index, matches in enumerate(self._matches) if matches(envelope))
        made = (*applying, envelope.api) if self._is_by_api else applying
        known = self._made.get(made)
        if known is None:
            if len(self._made) >= POLICIES_KEPT_MAX:
                self._made.clear()
            known = self.default
            for index in applying:
                known = changed(known, self._overrides[index])
            if self._is_by_api:
                known = structs.replace(known, rails=known.rails.of(envelope.api))
            self._made[made] = known
        return known


def _nothing(_: Envelope) -> None:
    return None


def _matcher(when: When) -> Callable[[Envelope], bool]:
    tests = [
        (attrgetter(field), frozenset(values), tuple(value[:-1] for value in values if value.endswith("*")))
        for condition, field in CONDITIONS.items()
        if (values := getattr(when, condition))
    ]

    def matches(envelope: Envelope) -> bool:
        return all(_is_one(value_of(envelope), names, beginnings) for value_of, names, beginnings in tests)

    return matches


def _is_one(value: str | tuple[str, ...], names: frozenset[str], beginnings: tuple[str, ...]) -> bool:
    """What the envelope does not say (no principal, no key) is no name, not even for `*`."""
    values = (value,) if isinstance(value, str) else value
    return any(one in names or (one != "" and one.startswith(beginnings)) for one in values)
