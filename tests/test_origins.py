"""Origins are compared as browsers send them, however somebody wrote them."""

import pytest

from hardpoint.origins import origin_of, origins


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://example.com", "https://example.com"),
        ("https://example.com/", "https://example.com"),
        ("HTTPS://Example.com:443/app?x=1#y", "https://example.com"),
        ("http://example.com:80", "http://example.com"),
        ("http://example.com:", "http://example.com"),
        ("http://example.com:443", "http://example.com:443"),
        ("https://example.com:0443", "https://example.com"),
        ("https://ann:secret@example.com", "https://example.com"),
        ("http://[::1]:8000/app", "http://[::1]:8000"),
        ("http://[FE80::1]", "http://[fe80::1]"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_the_origin_of_an_address_is_what_its_pages_send(address: str, origin: str) -> None:
    assert origin_of(address) == origin


@pytest.mark.parametrize(
    "address", ["https://", "https://:8000", "https://a:port", "https://a:0", "https://bücher.example"]
)
def test_an_address_that_no_page_can_have_has_none(address: str) -> None:
    with pytest.raises(ValueError, match="has a"):
        origin_of(address)


def test_capitals_and_the_schemes_own_port_make_no_other_origin() -> None:
    written = ["https://App.example.com", "https://app.example.com:443", "http://localhost:3000"]
    assert origins("allowed_origins", written) == {"https://app.example.com", "http://localhost:3000"}


@pytest.mark.parametrize(
    "entry",
    [
        "https://a.example/",
        "https://a.example/app",
        "https://a.example?x",
        "a.example",
        "null",
        "*",
        "https://*.a.example",
    ],
)
def test_what_no_browser_can_send_is_refused_with_how_to_write_it(entry: str) -> None:
    with pytest.raises(ValueError, match=r"allowed_origins: .* is not an origin; write it as scheme://host\[:port\]"):
        origins("allowed_origins", ["https://b.example", entry])
