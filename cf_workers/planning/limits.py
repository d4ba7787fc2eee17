"""Which budgets are declared, which of them apply to a run, and can they hold?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cf_workers.agents.estimate import is_priced
from cf_workers.budgets import Limit
from cf_workers.errors import ConfigError
from cf_workers.project import BudgetsSection, Project
from cf_workers.project.budgets import RUN
from cf_workers.settings import Settings
from cf_workers.workflows.plan import PlannedStep


def declared_limits(project: Project | None, settings: Settings) -> list[Limit]:
    """Those of the project, if there is one, with the environment's amounts; none of a run's own."""
    section = project.budgets if project is not None else BudgetsSection()
    return [
        *(one for one in section.applying((), None, _amounts(settings)) if one.scope != RUN),
        *section.agents.values(),
        *section.workflows.values(),
    ]


def applying_limits(
    project: Project, settings: Settings, agents: Sequence[str], workflow: str | None, max_usd: float | None
) -> tuple[Limit, ...]:
    """The budgets that apply to a run: the caller's amount, then the environment's, then the project's."""
    return project.budgets.applying(agents, workflow, _amounts(settings, max_usd))


def _amounts(settings: Settings, max_usd: float | None = None) -> dict[str, float | None]:
    """Those of the environment, and the caller's."""
    given = settings.budgets
    return {
        "namespace": given.namespace_usd,
        "day": given.day_usd,
        RUN: given.run_usd if max_usd is None else max_usd,
    }


def check_prices(steps: Iterable[PlannedStep], limits: Sequence[Limit]) -> None:
    """Refuse models with an unknown price where a budget applies: they would count as nothing.

    Raises:
        ConfigError: there is such a step.
    """
    if not limits:
        return
    agents = {limit.scope for limit in limits if limit.scope.startswith("agent:")}
    wide = len(agents) < len(limits)
    for model, agent in dict.fromkeys((step.model, step.agent) for step in steps):
        if (wide or f"agent:{agent}" in agents) and not is_priced(model):
            hint = "use a model with a known price, or remove the budgets that apply"
            raise ConfigError(
                f"no budget can hold for the model {model!r} (agent {agent!r}): its price is not known",
                {"hint": hint, "model": model},
            )
