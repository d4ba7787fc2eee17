"""A program written for the in-process orchestrators; of it only the import line has changed.

python old_code.py
"""

import asyncio

from cf_workers import AgentOrchestrator, AsyncAgentOrchestrator


def main() -> None:
    orchestrator = AgentOrchestrator(config_path=".claude/claude.json")
    result = orchestrator.run_agent("writer", task="Say hello", max_tokens=200)
    print(result.agent_name, result.success, result.metadata["tokens_used"] > 0)
    for one in orchestrator.run_workflow("draft-and-polish", task="Explain decorators"):
        print(one.metadata["workflow_position"], one.agent_name, one.success)
    orchestrator.close()


async def at_once() -> None:
    crew = AsyncAgentOrchestrator(max_concurrent=5, timeout_seconds=30, max_retries=3)
    results = await crew.execute_multiple([("linter", "Lint a.py"), ("linter", "Lint b.py")])
    print([one.success for one in results])
    await crew.close()


if __name__ == "__main__":
    main()
    asyncio.run(at_once())
