"""How each cell of the table is proven: one request, or a few, through a whole gateway, and what must be true of it."""

from base64 import b64encode
from urllib.parse import quote

from guarantees.cells import Cell
from guarantees.proving_answers import HOSTILE, answers_canary, hostile, leak
from guarantees.proving_doubts import judge, trajectory, trajectory_by_id
from guarantees.proving_edge import (
    authentication,
    body,
    end_users,
    firewall,
    forget_guesses,
    limits,
    route,
    threat_ledger,
    validation,
)
from guarantees.proving_failures import fails
from guarantees.proving_requests import (
    AIRSHIP,
    EMPLOYEE,
    GERMAN,
    PROJECT,
    STRANGER,
    attempts,
    audit,
    canary,
    injection,
    mask,
    masks,
    order,
    parsing,
    parts,
    rejects,
    resolve,
    token_ids,
    unmasking,
)
from guarantees.standing import Standing
from guarantees.trial import MAIL, TOKEN, Elsewhere, Proof, Trial

WORKS: dict[str, Proof] = {
    "authentication": authentication,
    "route": route,
    "limits": limits,
    "threat ledger": threat_ledger,
    "end users": end_users,
    "body": body,
    "firewall": firewall,
    "validation": validation,
    "parsing": parsing,
    "token ids": token_ids,
    "secrets": masks(TOKEN, "SECRET"),
    "pii": masks(MAIL, "EMAIL"),
    "secrets: encoded": masks(b64encode(f"the key is {TOKEN}".encode()).decode(), "SECRET"),
    "pii: encoded": masks(quote(MAIL, safe=""), "EMAIL"),
    "parts": parts,
    "presidio": masks(EMPLOYEE, "PII", "presidio"),
    "rules": rejects(PROJECT, "rule"),
    "topics": rejects(AIRSHIP, "topic"),
    "links": rejects(STRANGER, "link"),
    "language": rejects(GERMAN, "language"),
    "injection": injection,
    "judge": judge,
    "trajectory": trajectory,
    "trajectory by id": trajectory_by_id,
    "mask": mask,
    "canary": canary,
    "resolve": resolve,
    "order": order,
    "attempts": attempts,
    "unmasking": unmasking,
    "answers: canary": answers_canary,
    "audit": audit,
    **dict.fromkeys(HOSTILE, hostile),
    "answers: leak": leak,
}


async def prove(gateway: Standing, cell: Cell) -> None:
    it = Trial(gateway, cell)
    proof = WORKS[cell.control] if cell.outcome == "works" else fails(it)
    proven = 0
    for place in it.places:
        gateway.forget()
        forget_guesses(gateway)
        try:
            await proof(it, place)
        except Elsewhere:
            continue
        proven += 1
        if cell.outcome != "works":
            break  # What works shows that every place reaches the control; how that fails is the same for all of them.
    assert proven, "no place of this content is one that the cell is about"
