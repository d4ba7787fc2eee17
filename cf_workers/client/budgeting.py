"""How much may still be spent, and who may change that?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from cf_workers.agents.estimate import is_priced
from cf_workers.budgets import BudgetStatus, Ledger, Limit, Period, nanos_of, scope_of
from cf_workers.errors import ConfigError
from cf_workers.planning import Planned
from cf_workers.workflows.history import History
from cf_workers.workflows.record import RunStore


class Budgets:
    """The budgets of a namespace.

    Args:
        declared: those of the project as it is now.
        reaching: turns what a server that does not answer raises into errors of ours.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: RunStore,
        history: History,
        *,
        declared: Callable[[], Sequence[Limit]],
        reaching: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._history = history
        self._declared = declared
        self._reaching = reaching

    def status(self) -> list[BudgetStatus]:
        """Every budget that is declared, was set by hand, or was used lately.

        Raises:
            ServerUnreachableError: the server does not answer.
        """
        with self._reaching():
            return self._ledger.statuses(self._declared())

    def set(self, scope: str, usd: float | str, per: Period | None = None) -> int:
        """Set the amount of a budget, whatever is declared, for work under way as well.

        Args:
            scope: `namespace`, `day`, `agent:NAME`, `workflow:NAME` or `run:ID`.
            per: for which time, where no such budget is declared.

        Returns:
            How many steps waited for it, and go on.

        Raises:
            InputError: the scope or the amount cannot be used.
            UnknownRunError: there is no such run.
            ServerUnreachableError: the server does not answer.
        """
        return self._change(scope_of(scope), nanos_of(usd), per)

    def unset(self, scope: str) -> int:
        """Go back to what is declared; what was started under that goes on under it. Raises as `set` does."""
        return self._change(scope_of(scope), None, None)

    def refuse_unpriced(self, planned: Planned) -> None:
        """Make sure that budgets set by hand can hold for a plan.

        Raises:
            ConfigError: one applies, and the price of a model is not known.
        """
        for step in planned.plan.steps:
            if is_priced(step.model):
                continue
            scopes = {"namespace", "day", f"agent:{step.agent}", f"workflow:{planned.plan.workflow}"}
            if applying := scopes & self._ledger.by_hand().keys():
                raise ConfigError(
                    f"the budget {min(applying)} cannot hold for the model {step.model!r}: "
                    "its price is not known",
                    {"hint": "use a model with a known price, or `cf-workers budget unset`"},
                )

    def _change(self, scope: str, nanos: int | None, per: Period | None) -> int:
        kind, _, run = scope.partition(":")
        with self._reaching():
            if kind == "run":
                self._history.status(run)
                self._ledger.drop_runs(lambda other: not self._history.exists(other))
            waiters = self._ledger.set(scope, nanos, per)
            self._store.unpark(waiters)
        return len(waiters)
