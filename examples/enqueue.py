"""Enqueue from your own code: one agent, many agents, a workflow.

python enqueue.py src/
"""

import sys

from cf_workers import Client
from cf_workers.errors import CfWorkersError


def main(path: str) -> None:
    with Client() as client:
        handle = client.submit("researcher", f"Say what {path} is for")
        print(f"enqueued {handle.id}")
        answer = handle.result(timeout=120)  # raises the execution's own error
        print(f"researcher answered, estimated cost {answer.metadata['estimated_cost']} dollars")

        calls = [("linter", f"Lint {path}"), ("nobody", f"Look at {path}"), ("writer", f"Describe {path}")]
        for (agent, _), outcome in zip(calls, client.execute_many(calls, timeout=120), strict=True):
            print(f"{agent}: {'done' if outcome.ok else outcome.error}")

        run = client.start_workflow("code-quality-check", inputs={"path": path}, max_cost_usd=0.50)
        for event in run.events():  # ends with the run
            if event.type == "step.succeeded":
                print(f"step {event.step} succeeded")
        result = run.result(timeout=600)
        print(f"{result.workflow_name}: {result.status}, in the order {', '.join(result.execution_order)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "src/")
    except CfWorkersError as error:
        sys.exit(f"{error}\n{error.hint or ''}".strip())
