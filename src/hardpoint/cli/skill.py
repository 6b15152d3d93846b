"""`hardpoint skill install`."""

from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from hardpoint.cli.group import fail

__all__ = ["command"]

# The folder that most agents share, and the one of those that read their own alone.
_FOLDERS: Final = (Path(".agents/skills"), Path(".claude/skills"))
_NAME: Final = "hardpoint"


@click.group("skill")
def command() -> None:
    """What a coding agent should know of hardpoint, FastAPI and Starlette."""


@command.command("install")
@click.option(
    "--path",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder of skills, such as ~/.claude/skills; otherwise .agents/skills and .claude/skills in this folder.",
)
@click.option("--force", is_flag=True, help="Replace files that are there and differ.")
def install(path: Path | None, *, force: bool) -> None:
    """Put the skill where agents look, as a folder `hardpoint` of Markdown files.

    Exits with 1, and writes nothing, when a file is there already and differs.
    """
    source = _skill_folder()
    pages = {page.relative_to(source): page.read_bytes() for page in sorted(source.rglob("*.md"))}
    targets = [folder.expanduser() / _NAME for folder in ([path] if path else _FOLDERS)]
    try:
        changed = [
            target / name
            for target in targets
            for name, content in pages.items()
            if (target / name).exists() and (target / name).read_bytes() != content
        ]
        if changed and not force:
            fail([f"{file} differs from this version's; --force replaces it" for file in changed], status=1)
        for target in targets:
            for name, content in pages.items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                (target / name).write_bytes(content)
            click.echo(target)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", status=1)


def _skill_folder() -> Path:
    """Where the skill is: in the package, or in the checkout that an editable install runs from."""
    package = Path(str(files("hardpoint")))
    packaged = package / "_skill"  # pyproject.toml puts it into the wheel.
    return packaged if packaged.is_dir() else package.parent.parent / "skills" / _NAME
