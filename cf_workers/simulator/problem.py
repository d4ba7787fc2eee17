"""How does the API say no?"""

from __future__ import annotations

from typing import Any

from cf_workers.simulator.faults import ERROR_TYPES, Fault


class ApiProblem(Exception):  # noqa: N818 - an answer on its way to the client, not an error of ours
    """A request is answered with an error; caught at the server's border and rendered there."""

    def __init__(
        self,
        status: int,
        message: str | None = None,
        *,
        error_type: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status)
        default_type, default_message = ERROR_TYPES.get(status, ("api_error", "Simulated failure"))
        self.status = status
        self.type = error_type or default_type
        self.text = message or default_message
        self.code = code
        self.headers = headers or {}

    @classmethod
    def of(cls, fault: Fault) -> ApiProblem:
        """The error that a fault of kind `status` answers."""
        error_type, message = fault.error
        headers: dict[str, str] = {}
        if fault.retry_after is not None:
            headers["retry-after"] = f"{fault.retry_after:g}"
        if fault.should_retry is not None:
            headers["x-should-retry"] = "true" if fault.should_retry else "false"
        return cls(fault.status, message, error_type=error_type, code=fault.error_code, headers=headers)

    def body(self, request_id: str) -> dict[str, Any]:
        """The error body; `details` only where there is a code."""
        error: dict[str, Any] = {"type": self.type, "message": self.text}
        if self.code:
            error["details"] = {"error_code": self.code}
        return {"type": "error", "error": error, "request_id": request_id}


def invalid(message: str, code: str | None = None) -> ApiProblem:
    """A 400 that says which field is wrong."""
    return ApiProblem(400, message, code=code)
