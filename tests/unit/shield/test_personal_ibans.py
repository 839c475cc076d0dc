"""Account numbers: no two neighbours can be exchanged unseen."""

from llmproxy.shield.personal.ibans import is_iban


def test_iban_rejects_every_exchange_of_neighbours() -> None:
    iban = "DE89370400440532013000"
    assert is_iban(iban)
    swapped = [iban[:at] + iban[at + 1] + iban[at] + iban[at + 2 :] for at in range(4, 21) if iban[at] != iban[at + 1]]
    assert not any(is_iban(one) for one in swapped)
