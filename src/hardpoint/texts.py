"""Options that are texts: several of them, or such as HTTP takes."""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["field_value", "texts", "token"]

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FIELD_VALUE: Final = re.compile(r"[\t -~\x80-\xff]*")


def texts(name: str, given: Iterable[str]) -> frozenset[str]:
    """The texts of an option; one text alone, which is a collection of its letters as well, is a mistake.

    Raises:
        ValueError: It is one text.
    """
    if isinstance(given, str):
        raise ValueError(f"{name} must be a list of texts, and is one: write [{given!r}]")  # noqa: TRY004 - as for every setting.
    return frozenset(given)


def token(name: str, given: str) -> bytes:
    """An option that HTTP writes as a token (RFC 9110, section 5.6.2), such as a header's name.

    Raises:
        ValueError: It is none. A server would find out only with the first response.
    """
    if not _TOKEN.fullmatch(given):
        raise ValueError(f"{name} must consist of letters, digits and !#$%&'*+-.^_`|~, not {given!r}")
    return given.encode("ascii")


def field_value(name: str, given: str) -> bytes:
    """An option that HTTP writes as a header's value (RFC 9110, section 5.5).

    Raises:
        ValueError: A line break, another control character or one beyond Latin-1 is in it.
    """
    if not _FIELD_VALUE.fullmatch(given):
        raise ValueError(f"{name} must be one line of printable Latin-1 text, not {given!r}")
    return given.strip(" \t").encode("latin-1")
