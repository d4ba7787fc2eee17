"""`cf-workers budget`: how much may still be spent."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cf_workers.cli.clients import reached_client
from cf_workers.cli.output import columns, counted, notice, print_document, styled
from cf_workers.cli.session import Noun, session
from cf_workers.money import usd

if TYPE_CHECKING:
    from cf_workers.budgets import BudgetStatus, Period


@click.group("budget", cls=Noun)
def budget() -> None:
    """What may be spent, and what is left."""


@budget.command("status")
def status() -> None:
    """Show every budget that is declared, was set by hand, or was used lately."""
    from cf_workers.budgets import dollars

    with reached_client() as client:
        found = client.budgets.status()
    if session().json:
        print_document({"budgets": [_entry(one) for one in found]})
        return
    if not found:
        notice("no budgets: declare them in the section budgets of claude.json, or `cf-workers budget set`")
        return

    def amount(nanos: int | None) -> str:
        return "-" if nanos is None else dollars(nanos)

    columns(
        ("BUDGET", "AMOUNT", "SPENT", "RESERVED", "UNCERTAIN", "LEFT", "WAITING"),
        (
            (
                one.account.removesuffix(":total"),
                amount(one.limit) + (" (by hand)" if one.by_hand else ""),
                amount(one.spent),
                amount(one.reserved),
                amount(one.uncertain),
                styled(amount(max(0, one.left or 0)), fg="red" if one.waiting else None),
                counted(one.waiting, "step") if one.waiting else "-",
            )
            for one in found
        ),
    )


@budget.command("set")
@click.argument("scope")
@click.argument("amount", metavar="DOLLARS")
@click.option(
    "--per",
    type=click.Choice(["total", "day", "month"]),
    help="For which time, where no such budget is declared  [total].",
)
def set_(scope: str, amount: str, per: Period | None) -> None:
    """Set the budget SCOPE to DOLLARS, whatever is declared; what waits for it goes on.

    SCOPE is namespace, day, agent:NAME, workflow:NAME or run:ID.
    """
    with reached_client() as client:
        woken = client.budgets.set(scope, amount, per)
    _tell(scope, woken, f"the budget {scope} is ${amount} now")


@budget.command("unset")
@click.argument("scope")
def unset(scope: str) -> None:
    """Go back to what is declared for SCOPE."""
    with reached_client() as client:
        woken = client.budgets.unset(scope)
    _tell(scope, woken, f"the budget {scope} is as declared")


def _tell(scope: str, woken: int, sentence: str) -> None:
    if session().json:
        print_document({"success": True, "scope": scope, "woken": woken})
        return
    click.echo(f"{sentence}; {counted(woken, 'step')} that waited for it may go on" if woken else sentence)


def _entry(one: BudgetStatus) -> dict[str, Any]:
    """Amounts in dollars."""
    document = asdict(one) | {"left": one.left}
    money = ("limit", "spent", "reserved", "uncertain", "left")
    for name in money:
        document[f"{name}_usd"] = usd(document.pop(name))
    return document
