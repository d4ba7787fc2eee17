from __future__ import annotations

import pytest

from cf_workers.errors import (
    BadReplyError,
    CallRejectedError,
    CallTimeoutError,
    CancelledError,
    ConnectionFailedError,
    CredentialsError,
    OverloadedError,
    ProviderDownError,
    RateLimitedError,
    RefusedError,
    SpendLimitError,
    StreamCutError,
)
from cf_workers.resilience import failed


@pytest.mark.parametrize(
    ("error", "outcome", "congestion", "charge"),
    [
        (OverloadedError("x", {"status": 529}), "fault", "overload", "estimate"),
        (ProviderDownError("x", {"status": 500}), "fault", "", "estimate"),
        (ProviderDownError("x", {"status": 409}), "answered", "", "estimate"),
        (ConnectionFailedError("x", {"kind": "connect"}), "fault", "", "nothing"),
        (ConnectionFailedError("x", {"kind": "before_reply"}), "fault", "", "estimate"),
        (ConnectionFailedError("x", {"kind": "pool"}), "none", "", "nothing"),
        (CallTimeoutError("x", {"kind": "timeout"}), "fault", "", "estimate"),
        (StreamCutError("x", {"kind": "in_reply"}), "fault", "", "estimate"),
        (RateLimitedError("x", {"status": 429}), "none", "rate", "nothing"),
        (RateLimitedError("x", {"status": 429, "kind": "ramp_limit"}), "none", "ramp", "nothing"),
        (CallRejectedError("x", {"status": 400}), "answered", "", "request"),
        (CallRejectedError("x", {"kind": "unsendable"}), "none", "", "nothing"),
        (CredentialsError("x", {"status": 401}), "answered", "", "request"),
        (RefusedError("x", {"usage": {"input_tokens": 5}}), "success", "", "usage"),
        (BadReplyError("x", {"kind": "unreadable"}), "none", "", "request"),
        (CancelledError("x", {}), "none", "", "request"),
        (SpendLimitError("x", {"status": 429}), "answered", "", "nothing"),
    ],
)
def test_only_the_providers_own_faults_count_against_it(error, outcome, congestion, charge) -> None:
    ending = failed(error)

    assert (ending.outcome, ending.congestion, ending.charge) == (outcome, congestion, charge)


def test_a_failed_call_that_was_billed_is_charged_with_what_was_not_read_from_the_prompt_cache() -> None:
    usage = {
        "input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 5000,
        "output_tokens": 7,
    }

    ending = failed(StreamCutError("x", {"usage": usage}), rate_limits={"requests-limit": "5"})

    assert (ending.charge, ending.input_tokens, ending.output_tokens) == ("usage", 120, 7)
    assert ending.rate_limits == {"requests-limit": "5"}


def test_a_rate_limit_carries_the_time_to_wait() -> None:
    assert failed(RateLimitedError("x", {"status": 429, "retry_after": 9.0})).retry_after == 9.0
