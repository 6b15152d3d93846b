"""Options that are several texts."""

from collections.abc import Iterable

__all__ = ["texts"]


def texts(name: str, given: Iterable[str]) -> frozenset[str]:
    """The texts of an option; one text alone, which is a collection of its letters as well, is a mistake.

    Raises:
        ValueError: It is one text.
    """
    if isinstance(given, str):
        raise ValueError(f"{name} must be a list of texts, and is one: write [{given!r}]")  # noqa: TRY004 - as for every setting.
    return frozenset(given)
