"""E-mail addresses as identities: how one looks, and when two are the same."""

import unicodedata
from typing import Annotated

import idna
from pydantic import AfterValidator, EmailStr, Field

__all__ = ["MAX_KEY_LENGTH", "EmailAddress", "email_key"]

_MAX_LENGTH = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets.

MAX_KEY_LENGTH = 320
"""In characters."""


def email_key(address: str) -> str:
    """The key under which an address is unique.

    Of the part before the `@`: NFKC, case folded, NFKC again. Of the domain: its ASCII form (IDNA 2008 with the mapping
    of UTS #46), because two domains are one when the domain name system says so: one with an umlaut is its `xn--` form,
    and one with a sharp s is not the one with two, which may be somebody else's.

    Mail goes to the address as it was written; the key only decides whether an account exists. Without it `Ann@` and
    `ann@`, or a full-width letter that looks the same, would be two accounts.
    """
    local, at, domain = address.rpartition("@")
    return f"{_folded(local)}@{_ascii_domain(domain)}" if at else _folded(address)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _ascii_domain(domain: str) -> str:
    # What is no domain is nobody's, but may be asked for.
    folded = _folded(domain)
    for candidate in (unicodedata.normalize("NFKC", domain), folded):
        try:
            return idna.encode(candidate, uts46=True).decode("ascii").lower()
        except (idna.IDNAError, UnicodeError):
            continue
    return folded


def _bounded(address: str) -> str:
    # There are letters that fold into eighteen; the key has to fit its column.
    if len(address.encode()) > _MAX_LENGTH or len(email_key(address)) > MAX_KEY_LENGTH:
        raise ValueError("An e-mail address has at most 254 bytes")
    return address


EmailAddress = Annotated[EmailStr, AfterValidator(_bounded), Field(examples=["ann@example.com"])]
"""A syntactically valid address of at most 254 bytes; what it reaches is proven by a mail alone."""
