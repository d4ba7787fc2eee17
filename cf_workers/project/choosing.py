"""Which model does a step get, where nobody names one, and may it cost so much?"""

from __future__ import annotations

from cf_workers.agents.choice import Choice, choose
from cf_workers.agents.definition import AgentCall, AgentDefinition
from cf_workers.agents.estimate import most_nanos
from cf_workers.budgets import dollars
from cf_workers.errors import ConfigError
from cf_workers.project.problems import did_you_mean
from cf_workers.project.project import Project
from cf_workers.workflows.plan import PlannedStep
from cf_workers.workflows.spec import StepSpec


def choose_model(step: StepSpec, project: Project, task: str) -> Choice:
    """The model for a step that names none.

    Raises:
        ConfigError: it asks for a tier that there is not.
    """
    policy = project.models
    if step.complexity is not None and step.complexity not in policy.tiers:
        hint = did_you_mean(step.complexity, tuple(policy.tiers))
        raise ConfigError(
            f"step {step.id!r} asks for the complexity {step.complexity!r}, which is none",
            {"hint": hint or f"tiers are {', '.join(policy.tiers)}"},
        )
    return choose(policy, step.agent, task, step.complexity)


def check_threshold(step: PlannedStep, definition: AgentDefinition, task: str) -> None:
    """Refuse a chosen model that may cost too much, as far as its prompt is known.

    Raises:
        ConfigError: it may, or nobody knows.
    """
    if step.most_nanos is None:
        return
    call = AgentCall(definition, task, step.model, step.max_tokens, step.timeout_seconds)
    most = most_nanos(call)
    if most is None or most > step.most_nanos:
        cost = "an unknown price" if most is None else f"up to {dollars(most)}"
        raise ConfigError(
            f"the model chosen for step {step.id!r}, {step.model} ({step.chosen}), has {cost} a call; "
            f"the threshold is {dollars(step.most_nanos)}",
            {"hint": "lower max_tokens or the complexity, name a model, or raise models.max_cost_usd"},
        )
