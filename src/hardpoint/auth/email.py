"""E-mail addresses as identities: how one looks, and when two are the same."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, EmailStr, Field

__all__ = ["EmailAddress", "email_key"]

_MAX_LENGTH = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets.


def email_key(address: str) -> str:
    """The key under which an address is unique: NFKC, case folded, NFKC again.

    Mail goes to the address as it was written; the key only decides whether an account exists. Without it `Ann@` and
    `ann@`, or a full-width letter that looks the same, would be two accounts.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", address).casefold())


def _bounded(address: str) -> str:
    if len(address.encode()) > _MAX_LENGTH:
        raise ValueError("An e-mail address has at most 254 bytes")
    return address


EmailAddress = Annotated[EmailStr, AfterValidator(_bounded), Field(examples=["ann@example.com"])]
"""A syntactically valid address of at most 254 bytes; what it reaches is proven by a mail alone."""
