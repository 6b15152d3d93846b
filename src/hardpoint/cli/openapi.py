"""`hardpoint openapi [APP]`."""

import json
from pathlib import Path
from typing import Any, Literal

import click

from hardpoint.cli.group import fail
from hardpoint.cli.loading import load_app

__all__ = ["command"]


@click.command("openapi")
@click.argument("app", required=False, metavar="[MODULE:APP]")
@click.option("--format", "kind", type=click.Choice(["json", "yaml"]), default="json", show_default=True)
@click.option(
    "--diff",
    "old",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Instead of the document, what breaks clients of this older one; exit status 1 when something does.",
)
def command(kind: Literal["json", "yaml"], old: Path | None, app: str | None = None) -> None:
    """The OpenAPI document of the reference service, or of any FastAPI module:app."""
    document = _document(load_app(app))
    if old is not None:
        from hardpoint.openapi import breaking_changes

        changes = breaking_changes(_read(old), document)
        for change in changes:
            click.echo(change)
        if changes:
            raise click.exceptions.Exit(1)
    elif kind == "yaml":
        import yaml

        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _document(app: Any) -> dict[str, Any]:
    openapi = getattr(app, "openapi", None)
    if not callable(openapi):
        fail("The application has no OpenAPI document; it is no FastAPI application", status=2)
    document: dict[str, Any] = openapi()
    return document


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        # JSON is YAML, too.
        found = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("paths"), dict):
        fail(f"{path} is no OpenAPI document", status=2)
    return found
