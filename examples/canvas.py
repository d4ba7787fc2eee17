"""`run_agent` in a Celery canvas of your own: chain, group, chord, as with any task.

    python canvas.py

The agents are those of the workers' project. A result of ours that comes first in a chain, or the list of
results that a chord passes on, is shown to the agent as previous outputs.
"""

from celery import chain, chord

from cf_workers.tasks import run_agent


def main() -> None:
    article = chain(
        run_agent.s("researcher", "Find out what changed in the last release"),
        run_agent.s("writer", "Write a paragraph about it"),
    )
    print("article:", article.delay().get(timeout=120)["success"])

    verdict = chord(
        [run_agent.s("linter", "Lint src/app.py"), run_agent.s("security-scan", "Scan src/app.py")],
        run_agent.s("code-reviewer", "Give a verdict", max_tokens=500),
    )
    document = verdict.delay().get(timeout=120)
    print("verdict:", document["success"], document["agent_name"])


if __name__ == "__main__":
    main()
