"""What nobody counted is told from its length."""

from llmproxy.provider_workers.estimates import estimate


def test_an_image_in_the_request_is_not_counted_by_its_bytes() -> None:
    image = b'{"url":"data:image/png;base64,' + b"A" * 4_000_000 + b'"}'
    assert estimate(image, 0).input < 1_100
    assert estimate(b"x" * 400, 40).input == 100
    assert estimate(b"", 41).output == 11


def test_an_image_without_a_data_url_is_not_counted_by_its_bytes_either() -> None:
    image = b'{"type":"base64","media_type":"image/png","data":"' + b"A" * 4_000_000 + b'"}'
    assert estimate(image, 0).input < 1_100
    assert estimate(b'"' + b"word " * 4_000 + b'"', 0).input > 4_000
