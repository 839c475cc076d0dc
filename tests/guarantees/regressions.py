"""The weaknesses that are known from other gateways, by number, and the tests that show that this one does not have them.

`docs/guarantees.md` lists them; `tests/architecture/test_guarantees_complete.py` checks that every test exists. OWN are those that
say their number in their name.
"""

from msgspec import Struct

OWN = "tests/guarantees/test_section_c.py"
MATRIX = "tests/guarantees/test_guarantees.py"


class Weakness(Struct, frozen=True):
    """`tests`: `file::function`; `controls`: rows of the table that show it cell by cell."""

    what: str
    tests: tuple[str, ...]
    controls: tuple[str, ...] = ()


REGRESSIONS: dict[int, Weakness] = {
    10: Weakness(
        "users with roles get 500, because two parts of the program keep roles in different shapes",
        (
            f"{OWN}::test_section_c_10_a_principal_with_roles_is_answered_on_every_route_and_its_roles_decide_its_policy",
            "tests/unit/common/test_policy.py::test_an_override_applies_where_each_of_its_conditions_holds_by_any_of_its_values",
        ),
    ),
    11: Weakness(
        "an endpoint is called with another vendor's adapter, path or credential",
        (
            f"{OWN}::test_section_c_11_every_endpoint_is_called_as_its_own_vendor_wants_it",
            "tests/conformance/test_offers.py::test_a_provider_is_offered_for_what_its_adapter_does",
        ),
        ("resolve",),
    ),
    12: Weakness(
        "whoever looks at a half-open circuit uses up its probe; failures without a status are not counted",
        (
            f"{OWN}::test_section_c_12_looking_at_a_half_open_circuit_leaves_its_probe_to_the_next_request",
            "tests/unit/router/test_router_circuits.py::test_looking_never_uses_up_the_probe",
            "tests/unit/router/test_router_circuits.py::test_a_probe_that_was_cancelled_gives_its_lease_back",
        ),
        ("order", "attempts"),
    ),
    13: Weakness(
        "malformed input makes a guard fail so often that it is skipped, and what follows passes in clear",
        (
            f"{OWN}::test_section_c_13_sixty_malformed_requests_switch_no_guard_off",
            "tests/attacks/test_shield_failures.py::test_a_guard_that_raises_blocks_the_request_every_time_and_is_never_skipped",
            "tests/unit/common/test_plugin_host.py::test_a_step_is_never_skipped_for_having_failed_before",
        ),
        ("secrets", "pii", "presidio", "injection"),
    ),
    14: Weakness(
        "personal data is not masked in parts, arguments, system texts, embeddings and other countries' forms; placeholders of"
        " others are resolved; streams are not unmasked",
        (
            "tests/attacks/test_shield_hiding_places.py::test_a_value_is_masked_wherever_it_stands",
            "tests/unit/shield/test_shield_seams.py::test_it_is_masked_in_every_dialect_and_place_that_has_parts",
            "tests/attacks/test_shield_hiding_places.py::test_a_placeholder_that_the_caller_types_is_never_resolved",
            "tests/attacks/test_shield_hiding_places.py::test_another_tenants_placeholder_is_never_resolved",
            "tests/e2e/test_masking_round_trip.py::test_every_cut_of_the_stream_gives_the_same",
        ),
        ("secrets", "pii", "parts", "mask", "unmasking"),
    ),
    15: Weakness(
        "streams are unguarded: what is split over events is not seen, and a stopped stream looks whole",
        (
            "tests/unit/shield/test_answers_law.py::test_whatever_the_pieces_the_same_is_said_and_found",
            "tests/e2e/test_masking_round_trip.py::test_an_answer_that_is_blocked_ends_with_one_error_in_every_api",
        ),
        ("answers: secrets", "answers: leak", "audit"),
    ),
    16: Weakness(
        "answers with code, indentation or talk about attacks are refused; only the first text of an answer is looked at",
        (
            "tests/unit/shield/test_answers_guards.py::test_code_indentation_tables_drawings_and_talk_about_attacks_are_left_alone",
            "tests/unit/shield/test_answers_guards.py::test_every_text_of_every_choice_is_read",
        ),
    ),
    17: Weakness(
        "prompts are changed on their way: indentation and comments are lost",
        (
            f"{OWN}::test_section_c_17_code_reaches_the_provider_to_the_character",
            "tests/attacks/test_shield_hiding_places.py::test_the_masked_body_keeps_order_unknown_fields_numbers_and_spaces",
        ),
        ("mask",),
    ),
    18: Weakness(
        "the firewall is passed by spacing, escapes, encodings and look-alikes, blocks harmless questions, and fails on bad entities",
        (
            "tests/attacks/test_firewall_bypasses.py::test_a_hidden_attack_is_blocked_recorded_and_goes_nowhere",
            "tests/attacks/test_firewall_bypasses.py::test_what_others_block_by_mistake_is_answered",
        ),
        ("firewall",),
    ),
    19: Weakness(
        "what stops one API leaves others open",
        (f"{OWN}::test_section_c_19_a_revoked_key_and_a_policy_that_blocks_hold_on_every_route",),
    ),
    20: Weakness(
        "the caller writes headers of the request to the provider, by a field of the body",
        (f"{OWN}::test_section_c_20_no_field_of_a_body_becomes_a_header_of_the_request_to_the_provider",),
    ),
    25: Weakness(
        "one bad prompt refuses the next requests of everybody with the same key or address",
        (
            "tests/unit/shield/test_shield_trajectory.py::test_one_bad_prompt_never_makes_the_next_two_benign_ones_fail",
            "tests/integration/test_threat_ledger.py::test_one_prompt_however_bad_never_makes_the_next_requests_of_others_fail",
            "tests/integration/test_threat_ledger.py::test_three_suspicious_prompts_lock_nobody",
            "tests/integration/test_threat_ledger.py::test_a_benign_user_behind_the_attackers_proxy_is_never_refused",
        ),
        ("threat ledger", "trajectory"),
    ),
}
