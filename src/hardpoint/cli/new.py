"""`hardpoint new NAME`."""

from pathlib import Path

import click

from hardpoint import __version__
from hardpoint.cli.group import fail
from hardpoint.new.names import NameRefused
from hardpoint.new.versions import BUNDLE, TemplateFault, add_version

__all__ = ["command"]


@click.command("new")
@click.argument("folder", metavar="NAME", type=click.Path(path_type=Path))
@click.option("--defaults", is_flag=True, help="Ask nothing: SQLite, with everything.")
@click.option(
    "--data",
    "data",
    multiple=True,
    metavar="KEY=VALUE",
    help="An answer: database=sqlite|postgresql, realtime=yes|no, jobs=yes|no, api_keys=yes|no; "
    "hardpoint=PATH for a wheel or a checkout instead of the package index.",
)
@click.option("--refresh", is_flag=True, help=f"Put this version's template into NAME's {BUNDLE}, for copier update.")
def command(folder: Path, data: tuple[str, ...], *, defaults: bool, refresh: bool) -> None:
    """The reference service as a project of your own, in the folder NAME, whose name is that of its package.

    Exits with 2, and writes nothing, when the name or an answer is refused.
    """
    if refresh:
        _refresh(folder)
    else:
        _make(folder, data, defaults=defaults)


def _make(folder: Path, data: tuple[str, ...], *, defaults: bool) -> None:
    try:
        from hardpoint.new.project import AnswerRefused, make_project, parse_answers
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "copier":
            raise
        fail("hardpoint new needs copier: pip install 'hardpoint[new]'", status=1)
    try:
        answers = parse_answers(data)
        package = make_project(folder, answers, defaults=defaults)
    except (NameRefused, AnswerRefused) as error:
        fail(str(error), status=2)
    except TemplateFault as error:
        fail(str(error), status=1)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", status=2)
    click.echo(f"{folder} has the service {package}. Next:")
    click.echo(f"  cd {folder} && git init --quiet && git add --all && git commit --quiet -m 'As hardpoint made it'")
    click.echo("  make run")


def _refresh(folder: Path) -> None:
    try:
        tag = add_version(folder / BUNDLE, __version__)
    except TemplateFault as error:
        fail(str(error), status=1)
    if tag is None:
        click.echo(f"{BUNDLE} has this template already")
    else:
        click.echo(f"{BUNDLE} has the template {tag}. Commit it; then: copier update")
