"""Arguments that are something else, told where they are written and not at the first request."""

from types import UnionType

__all__ = ["check_argument"]


def check_argument(name: str, given: object, kind: type | UnionType | str, wanted: str) -> None:
    """Refuse what is no `kind`, and a class in place of what it makes.

    Args:
        name: The argument's name.
        given: What was given.
        kind: What it has to be, `object` for whatever is no class; or, for `None` and whatever has it, a method's name.
        wanted: What to write.

    Raises:
        TypeError: It is something else; told by the name of its type alone, as it may be a secret.
    """
    # A protocol would miss, from Python 3.12 on, the methods that a proxy or a mock has by `__getattr__`.
    fits = given is None or hasattr(given, kind) if isinstance(kind, str) else isinstance(given, kind)
    if isinstance(given, type) or not fits:
        told = f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"
        raise TypeError(f"{name} takes {wanted}, not {told}")
