"""What Presidio calls things, and which of our kinds each is.

Its list: https://microsoft.github.io/presidio/supported_entities/. What is not here, an operator's own entity or one of a country that is
switched on, is `pii.<entity>`, so that a policy can name it.
"""

KINDS = {
    "CREDIT_CARD": "credit_card",
    "CRYPTO": "crypto",
    "DATE_TIME": "date_time",
    "EMAIL": "email",
    "EMAIL_ADDRESS": "email",
    "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip_address",
    "MAC_ADDRESS": "mac_address",
    "NRP": "nrp",
    "LOCATION": "location",
    "PERSON": "person",
    "ORGANIZATION": "organization",
    "PHONE_NUMBER": "phone",
    "MEDICAL_LICENSE": "medical_license",
    "URL": "url",
    "UUID": "uuid",
    "US_BANK_NUMBER": "bank_account",
    "US_DRIVER_LICENSE": "driver_license",
    "US_ITIN": "us_itin",
    "US_PASSPORT": "passport",
    "US_SSN": "us_ssn",
    "UK_NHS": "uk_nhs",
    "UK_NINO": "uk_nino",
    "UK_PASSPORT": "passport",
    "UK_DRIVING_LICENCE": "driver_license",
    "UK_VEHICLE_REGISTRATION": "license_plate",
    "CA_SIN": "ca_sin",
    "AU_ABN": "au_abn",
    "AU_TFN": "au_tfn",
    "AU_MEDICARE": "au_medicare",
    "IN_PAN": "in_pan",
    "IN_AADHAAR": "in_aadhaar",
    "IN_PASSPORT": "passport",
    "IN_VEHICLE_REGISTRATION": "license_plate",
    "DE_TAX_ID": "de_tax_id",
    "DE_PASSPORT": "passport",
    "DE_FUEHRERSCHEIN": "driver_license",
    "DE_VAT_ID": "eu_vat",
    "DE_KFZ": "license_plate",
    "ES_NIF": "es_nif",
    "ES_NIE": "es_nif",
    "ES_PASSPORT": "passport",
    "IT_FISCAL_CODE": "it_fiscal_code",
    "IT_VAT_CODE": "eu_vat",
    "IT_PASSPORT": "passport",
    "IT_DRIVER_LICENSE": "driver_license",
    "PL_PESEL": "pl_pesel",
    "KR_PASSPORT": "passport",
    "KR_DRIVER_LICENSE": "driver_license",
    "PH_PASSPORT": "passport",
    "ZA_PASSPORT": "passport",
    "ZA_DRIVER_LICENSE": "driver_license",
    "ZA_LICENSE_PLATE": "license_plate",
    "ZA_MOBILE_NUMBER": "phone",
    "ZA_TELEPHONE_NUMBER": "phone",
    "TR_LICENSE_PLATE": "license_plate",
    "NG_VEHICLE_REGISTRATION": "license_plate",
}

NAMED = frozenset({"PERSON", "LOCATION", "ORGANIZATION", "NRP"})
"""What only a language model finds."""


def kind_of(entity: str) -> str:
    return KINDS.get(entity) or f"pii.{entity.lower()}"
