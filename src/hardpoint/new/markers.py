"""From the service's source to a copier template: what is there by choice, and what bears the project's own name."""

import re
from typing import Final

__all__ = ["as_template"]

_LINE: Final = re.compile(r"(?P<line>.*?\S)  # new: (?P<condition>[a-z_]+)")
_IF: Final = re.compile(r" *# new: if (?P<condition>[a-z_ ]+)")
_END: Final = re.compile(r" *# new: end if")
# As copier.yml has them: nothing that stands in the source anyway.
_DELIMITERS: Final = ("[%", "[=", "[##")

# The service's words for itself, and a project's; the first that fits.
_PACKAGE: Final = "[= package =]"
_COMMANDS: Final = "db|dev|jobs|keys|openapi|serve|stack|users|worker"
_WORDS: Final = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"The reference service: .*wire it\.", f"{_PACKAGE}: users, posts, comments."),
        (r"The reference service of hardpoint: [^\"]*", "Users, posts and comments, and who may do what with them."),
        (r"hardpoint\.(service|cli)\b", _PACKAGE),
        (r"\bHARDPOINT_", "[= prefix =]_"),
        (rf"\bhardpoint (?={_COMMANDS}\b)", f"{_PACKAGE} "),
        (r"\bhardpoint(?=@localhost|_mails_)", _PACKAGE),
        (r"""(?<=["`.])hardpoint(?=[ "`])""", _PACKAGE),
    )
)


def as_template(source: str) -> str:
    """A copier template that renders `source` for the choices and the name of a project.

    Raises:
        ValueError: A marker has no counterpart, or the source has something that copier would take for its own.
    """
    if found := [delimiter for delimiter in _DELIMITERS if delimiter in source]:
        raise ValueError(f"The source has {found[0]!r}, which is the template's own")
    lines: list[str] = []
    depth = 0
    for line in source.splitlines():
        if opens := _IF.fullmatch(line):
            lines.append(f"[% if {opens['condition']} %]")
            depth += 1
        elif _END.fullmatch(line):
            lines.append("[% endif %]")
            depth -= 1
        elif marked := _LINE.fullmatch(line):
            lines += [f"[% if {marked['condition']} %]", marked["line"], "[% endif %]"]
        elif "# new:" in line:
            raise ValueError(f"Not a marker: {line.strip()}")
        else:
            lines.append(line)
        if depth < 0:
            raise ValueError("There is an end if without an if")
    if depth:
        raise ValueError("There is an if without an end if")
    text = "\n".join(lines) + "\n"
    for pattern, word in _WORDS:
        text = pattern.sub(word, text)
    return text
