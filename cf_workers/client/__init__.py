"""The producer's side: enqueue work, wait for it, look at it. It loads neither the SDK nor the tasks.

with Client() as client:
print(client.submit("code-reviewer", "Review this diff: …").result(timeout=120).output)
"""

from cf_workers.client.client import Client
from cf_workers.client.compiled import compiled_document
from cf_workers.client.handles import ExecutionHandle, RunHandle
from cf_workers.client.results import ExecutionResult, Outcome, RunResult, StepResult

__all__ = [
    "Client",
    "ExecutionHandle",
    "ExecutionResult",
    "Outcome",
    "RunHandle",
    "RunResult",
    "StepResult",
    "compiled_document",
]
