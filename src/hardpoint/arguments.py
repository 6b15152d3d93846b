"""Arguments that are something else, told where they are written and not at the first request."""

from types import UnionType

__all__ = ["check_argument"]


def check_argument(name: str, given: object, kind: type | UnionType, wanted: str) -> None:
    """Refuse what is no `kind`, and a class in place of what it makes.

    Args:
        name: The argument's name.
        given: What was given.
        kind: What it has to be; `object` for whatever is no class.
        wanted: What to write.

    Raises:
        TypeError: It is something else; told by the name of its type alone, as it may be a secret.
    """
    if isinstance(given, type) or not isinstance(given, kind):
        told = f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"
        raise TypeError(f"{name} takes {wanted}, not {told}")
