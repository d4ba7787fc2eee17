"""Agents behind a web application: nothing blocks the event loop, and no request holds a worker.

pip install fastapi uvicorn
uvicorn web:app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from cf_workers import Client
from cf_workers.errors import CfWorkersError, InputError, UnknownRunError, UnreachableError


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with Client() as client:  # one for the process; safe to use from many threads
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


class Question(BaseModel):
    task: str


class Review(BaseModel):
    path: str
    key: str


@app.post("/ask/{agent}")
async def ask(agent: str, question: Question, request: Request) -> dict[str, Any]:
    """Wait for one answer."""
    try:
        answer = await request.app.state.client.submit(agent, question.task)
    except CfWorkersError as error:
        raise HTTPException(_status(error), error.message) from error
    return {"output": answer.output, "cost": answer.metadata["estimated_cost"]}


@app.post("/reviews", status_code=202)
def start(review: Review, request: Request) -> dict[str, str]:
    """Start a run and answer at once; the same key twice is one run."""
    client: Client = request.app.state.client
    run = client.start_workflow(
        "code-quality-check", inputs={"path": review.path}, idempotency_key=review.key
    )
    return {"run": run.id, "status": run.status()}


@app.get("/reviews/{run}")
async def finished(run: str, request: Request) -> dict[str, Any]:
    """Wait for the end of a run that anybody started."""
    try:
        result = await request.app.state.client.run(run)
    except CfWorkersError as error:
        raise HTTPException(_status(error), error.message) from error
    verdict = result.results["final-review"].output
    return {"status": result.status, "verdict": verdict, "cost": result.estimated_cost}


def _status(error: CfWorkersError) -> int:
    if isinstance(error, UnknownRunError):
        return 404
    if isinstance(error, InputError):
        return 422
    return 503 if isinstance(error, UnreachableError) else 502
