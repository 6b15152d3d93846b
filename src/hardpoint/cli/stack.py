"""`hardpoint stack [APP]`."""

import click

from hardpoint.cli.group import fail
from hardpoint.cli.loading import load_app
from hardpoint.middleware import check_order, describe

__all__ = ["command"]


@click.command("stack")
@click.argument("app", required=False, metavar="[MODULE:APP]")
def command(app: str | None = None) -> None:
    """Print the middleware stack, outermost first, and what is wrong with it.

    Exits with 1 when the order breaks a rule.
    """
    middlewares = load_app(app).user_middleware
    if not middlewares:
        click.echo("no middleware")
    for place, middleware in enumerate(middlewares, start=1):
        click.echo(f"{place:>2}  {describe(middleware)}")
    faults = check_order(middlewares)
    for fault in faults:
        click.echo(f"{'wrong' if fault.fatal else 'unwise'}: {fault}", err=True)
    if any(fault.fatal for fault in faults):
        fail([], status=1)
