"""Is this place in order: project, settings, key, packages? Needs no server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version

from cf_workers._redis import describe_url
from cf_workers.agents.models import DEFAULT_MODEL, check_model
from cf_workers.cache.secret import ENVIRONMENT_VARIABLE, PRODUCTION, SECRET_VARIABLE
from cf_workers.doctor.findings import ADVICE, OK, PROBLEM, Finding
from cf_workers.errors import ConfigError, ProjectError
from cf_workers.planning import check_project
from cf_workers.project import Project
from cf_workers.provenance import unknown_variables
from cf_workers.reliability.versions import SUPPORTED
from cf_workers.settings import Settings

PACKAGES: Mapping[str, str] = {**SUPPORTED, "anthropic": "2.", "redis": "8."}
"""Packages whose versions matter, and how those begin that were tested."""

_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
_PROBLEMS_TOLD = 5


def place_findings(
    project: Project | None, settings: Settings, environ: Mapping[str, str], today: date
) -> Iterator[Finding]:
    """Everything about this place but what the project says itself."""
    yield _of_model(settings, today)
    yield _of_key(environ)
    if address := environ.get("ANTHROPIC_BASE_URL"):
        says = f"calls go to {describe_url(address)}"
        yield Finding("api address", OK, says)
    yield from _of_variables(environ)
    yield from _of_broker(settings, environ)
    yield from _of_secret(project, settings, environ)
    yield _of_packages(installed())


def installed() -> dict[str, str | None]:
    """The installed version of each package that matters."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def project_findings(project: Project | None, settings: Settings) -> Iterator[Finding]:
    """Whether everything in the project can be used, and whether there is one.

    A default model that cannot be used is not the project's fault.
    """
    if project is None:
        says = "there is none here; workers need none, commands that start work do"
        yield Finding("project", ADVICE, says, "go to its folder, or name its claude.json with --config")
        return
    with_default = settings.agents.model_copy(update={"model": DEFAULT_MODEL})
    try:
        check_project(project, settings.model_copy(update={"agents": with_default}))
    except ProjectError as error:
        yield from _of_problems(project, error.problems)
        return
    agents, workflows = len(project.agent_names), len(project.workflow_names)
    yield Finding("project", OK, f"{project.path}: {agents} agents and {workflows} workflows can be used")


def _of_problems(project: Project, problems: Sequence[Mapping[str, object]]) -> Iterator[Finding]:
    for problem in problems[:_PROBLEMS_TOLD]:
        where = ":".join(
            str(part) for part in (problem.get("file") or project.path, problem.get("line")) if part
        )
        yield Finding("project", PROBLEM, _told(problem), f"correct it in {where}")
    if len(problems) > _PROBLEMS_TOLD:
        more = f"{len(problems) - _PROBLEMS_TOLD} more problems"
        yield Finding("project", PROBLEM, more, "`cf-workers config validate` lists all of them")


def _told(problem: Mapping[str, object]) -> str:
    place = f"{problem['place']}: " if problem["place"] else ""
    hint = f" ({problem['hint']})" if problem.get("hint") else ""
    return f"{place}{problem['message']}{hint}"


def _of_model(settings: Settings, today: date) -> Finding:
    model = settings.agents.model
    setting = "set CF_WORKERS_AGENTS__MODEL"
    try:
        warning = check_model(model, today)
    except ConfigError as error:
        return Finding("default model", PROBLEM, error.message, f"{setting}: {error.hint}")
    if warning:
        return Finding("default model", ADVICE, warning, setting)
    return Finding("default model", OK, model)


def _of_key(environ: Mapping[str, str]) -> Finding:
    found = next((name for name in _KEYS if environ.get(name, "").strip()), None)
    if found is not None:
        return Finding("api key", OK, f"{found} is set")
    return Finding(
        "api key",
        PROBLEM,
        f"{_KEYS[0]} is not set: a worker that is started here can make no call",
        f"set {_KEYS[0]}; to try without one, run `cf-workers simulate-api`, then set ANTHROPIC_BASE_URL to "
        f"the address that it prints and {_KEYS[0]} to anything",
    )


def _of_variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    for name, meant in unknown_variables(environ):
        do = f"did you mean {meant}?" if meant else "unset it; `cf-workers config show` lists the settings"
        yield Finding("variables", PROBLEM, f"{name} is not a setting: nothing reads it", do)


def _of_broker(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Celery would let `CELERY_BROKER_URL` win; here our own variable does."""
    theirs = environ.get("CELERY_BROKER_URL", "").strip()
    if not theirs:
        return
    if settings.broker_url == theirs:
        if settings.redis_url == theirs:
            yield Finding("broker", OK, f"CELERY_BROKER_URL is in force: {describe_url(theirs)}")
            return
        state = describe_url(settings.redis_url) if settings.redis_url else "this project's embedded Valkey"
        says = f"messages go to CELERY_BROKER_URL ({describe_url(theirs)}), state and results to {state}"
        yield Finding("broker", ADVICE, says, "if that is not meant, set CF_WORKERS_BROKER_URL or unset it")
        return
    says = (
        f"CF_WORKERS_BROKER_URL is in force ({describe_url(settings.broker_url or '')}); CELERY_BROKER_URL "
        f"({describe_url(theirs)}) is not used"
    )
    yield Finding("broker", ADVICE, says, "unset CELERY_BROKER_URL, if it is meant for nothing else")


def _of_secret(project: Project | None, settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    cached = settings.cache.enabled and (project is None or _caches(project))
    if not cached or environ.get(SECRET_VARIABLE, "").strip():
        return
    if environ.get(ENVIRONMENT_VARIABLE, "").strip().lower() == PRODUCTION:
        says = f"{SECRET_VARIABLE} is not set, and in production nothing is cached without it"
        yield Finding("cache secret", PROBLEM, says, "set it to one long random text on every host")
    elif settings.redis_url:
        says = f"{SECRET_VARIABLE} is not set; answers are signed with a secret kept beside them"
        yield Finding("cache secret", ADVICE, says, "set it on every host before this serves production")


def _caches(project: Project) -> bool:
    try:
        return project.cache.enabled
    except ProjectError:  # told with the project's problems
        return True


def _of_packages(found: Mapping[str, str | None]) -> Finding:
    told = ", ".join(f"{name} {number or 'missing'}" for name, number in found.items())
    wrong = [name for name, number in found.items() if not (number or "").startswith(PACKAGES[name])]
    if not wrong:
        return Finding("packages", OK, told)
    wanted = " ".join(f"'{name}=={PACKAGES[name]}*'" for name in wrong)
    says = f"{told}; this release was not tested with such a {' and '.join(wrong)}"
    return Finding("packages", PROBLEM, says, f"pip install {wanted}")
