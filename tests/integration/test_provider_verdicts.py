"""What a failed call means: every row of the table, through the real SDK over real HTTP."""

from __future__ import annotations

import json
import pickle
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anthropic
import pydantic
import pytest

from cf_workers.agents.definition import AgentCall, AgentDefinition, DependencyOutput
from cf_workers.agents.diagnosis import judge
from cf_workers.agents.provider import AnthropicProvider, ProviderPolicy
from cf_workers.errors import (
    BadReplyError,
    CallRejectedError,
    CallTimeoutError,
    CfWorkersError,
    ConnectionFailedError,
    CredentialsError,
    OverloadedError,
    PermanentError,
    ProviderDownError,
    RateLimitedError,
    SpendLimitError,
    TransientError,
)
from tests.support.raw_api import RawApi, message, start_of_message
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

KEY = "sk-ant-api03-VERYSECRETKEY"
TASK = "The secret recipe: two parts saffron, one part moonlight, stirred at midnight."
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def call(max_tokens=64, timeout=10.0) -> AgentCall:
    agent = AgentDefinition(
        name="greeter", text="You are the greeter of a very old house.", contract="Be kind."
    )
    return AgentCall(
        agent, TASK, "claude-haiku-4-5", max_tokens, timeout, (DependencyOutput("s", "a", "out"),)
    )


def error_body(status, text="It went wrong", *, type=None, code=None):
    error = {"type": type or TYPES.get(status), "message": text}
    if code:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": "req_raw"}


def failure_of(script, the_call=None) -> CfWorkersError:
    with RawApi(script) as raw:
        provider = AnthropicProvider(ProviderPolicy(base_url=raw.url, api_key=KEY))
        with pytest.raises(CfWorkersError) as caught:
            provider.ask(the_call or call())
        provider.close()
        assert raw.connections == 1, "the SDK retried"
    return caught.value


def failure_with(status, body, headers=None):
    def script(connection):
        connection.request()
        connection.answer(status, body, headers)

    return failure_of(script)


def failure_in_stream(event_body):
    def script(connection):
        connection.request()
        connection.begin_stream()
        connection.event(start_of_message())
        connection.event(event_body)
        connection.end_stream()

    return failure_of(script, call(max_tokens=30_000))


ROWS = [
    # status, error_code, our error, kind
    (400, None, CallRejectedError, "rejected"),
    (401, None, CredentialsError, "credentials"),
    (402, None, CredentialsError, "billing"),
    (402, "linked_organization_spend_limit_reached", SpendLimitError, "spend_limit"),
    (403, None, CredentialsError, "credentials"),
    (404, None, CallRejectedError, "not_found"),
    (408, None, ProviderDownError, "server_error"),
    (409, None, ProviderDownError, "server_error"),
    (412, None, CallRejectedError, "rejected"),
    (413, None, CallRejectedError, "rejected"),
    (418, None, CallRejectedError, "rejected"),
    (422, None, CallRejectedError, "rejected"),
    (429, None, RateLimitedError, "rate_limit"),
    (429, "ramp_limit_exceeded", RateLimitedError, "ramp_limit"),
    (429, "enforced_spend_limit_reached", SpendLimitError, "spend_limit"),
    (429, "contract_spend_limit_reached", SpendLimitError, "spend_limit"),
    (431, None, CallRejectedError, "rejected"),
    (499, None, CallRejectedError, "rejected"),
    (500, None, ProviderDownError, "server_error"),
    (501, None, CallRejectedError, "rejected"),
    (502, None, ProviderDownError, "server_error"),
    (503, None, ProviderDownError, "server_error"),
    (503, "registration_pending", ProviderDownError, "server_error"),
    (504, None, ProviderDownError, "server_error"),
    (529, None, OverloadedError, "overloaded"),
    (529, "compaction_unavailable", OverloadedError, "overloaded"),
]


@pytest.mark.parametrize(("status", "code", "expected", "kind"), ROWS)
def test_a_status_and_its_code_have_one_meaning(status, code, expected, kind):
    error = failure_with(status, error_body(status, code=code))

    assert type(error) is expected
    assert error.details["kind"] == kind
    assert error.status == status
    assert error.details.get("type") == TYPES.get(status)
    assert error.details.get("error_code") == code
    assert error.request_id == "req_raw"
    assert "It went wrong" in error.message


STREAM_ROWS = [
    ("overloaded_error", None, OverloadedError),
    ("api_error", None, ProviderDownError),
    ("timeout_error", None, ProviderDownError),
    ("rate_limit_error", None, RateLimitedError),
    ("rate_limit_error", "enforced_spend_limit_reached", SpendLimitError),
    ("invalid_request_error", None, CallRejectedError),
    ("authentication_error", None, CredentialsError),
    ("billing_error", None, CredentialsError),
    ("permission_error", None, CredentialsError),
    ("not_found_error", None, CallRejectedError),
    ("error_of_the_future", None, CallRejectedError),
]


@pytest.mark.parametrize(("type_", "code", "expected"), STREAM_ROWS)
def test_an_error_event_in_a_stream_is_judged_by_its_type_for_its_status_is_200(type_, code, expected):
    event = {**error_body(200, type=type_, code=code), "type": "error"}

    error = failure_in_stream(event)

    assert type(error) is expected
    assert error.status == 200
    assert error.details["type"] == type_
    assert error.details["usage"]["input_tokens"] == 11


@pytest.mark.parametrize(
    "body", [{"type": "error"}, {"type": "error", "error": "oops"}, {"type": "error", "error": {}}]
)
def test_an_error_event_that_says_nothing_is_a_failure_of_the_server(body):
    assert type(failure_in_stream(body)) is ProviderDownError


@pytest.mark.parametrize("text", ["organization", "workspace"])
def test_a_spend_limit_that_one_set_oneself_stops_spending_although_it_is_a_400(text):
    said = f"You have reached your specified {text} API usage limits. You will regain access on 2026-12-01."

    error = failure_with(400, error_body(400, said))

    assert type(error) is SpendLimitError
    assert "spend limit" in error.hint


def test_a_400_that_only_mentions_usage_limits_is_a_rejection():
    error = failure_with(400, error_body(400, "max_tokens: see our API usage limits"))

    assert type(error) is CallRejectedError


@pytest.mark.parametrize(
    ("status", "word", "expected"),
    [
        (529, "false", CallRejectedError),
        (500, "false", CallRejectedError),
        (429, "false", CallRejectedError),
        (400, "true", ProviderDownError),
        (401, "true", ProviderDownError),
        (501, "true", ProviderDownError),
        (529, "maybe", OverloadedError),
    ],
)
def test_the_word_of_the_api_on_retrying_outranks_the_status(status, word, expected):
    assert type(failure_with(status, error_body(status), {"x-should-retry": word})) is expected


def test_a_spend_limit_outranks_the_word_on_retrying():
    body = error_body(429, code="enforced_spend_limit_reached")

    assert type(failure_with(429, body, {"x-should-retry": "true"})) is SpendLimitError


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "7", "retry-after-ms": "soon"}, 7.0),
        ({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 529, 503])
def test_the_wait_that_the_api_asks_for_comes_with_the_error(status, headers, expected):
    error = failure_with(status, error_body(status), headers)

    assert isinstance(error, TransientError)
    assert error.retry_after == expected


def test_the_wait_may_be_given_as_a_date():
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)

    error = failure_with(429, error_body(429), {"retry-after": then})

    assert 80 < error.retry_after <= 91


def test_a_gateways_html_page_is_judged_by_its_status_and_not_shown():
    error = failure_with(502, b"<html>Bad gateway at proxy-17</html>", {"content-type": "text/html"})

    assert type(error) is ProviderDownError
    assert "html" not in str(error)
    assert error.details.get("type") is None


def test_a_wrong_key_says_where_the_key_is_read_from():
    error = failure_with(401, error_body(401, "invalid x-api-key"))

    assert "ANTHROPIC_API_KEY" in error.hint


@pytest.mark.parametrize(
    ("status", "word"), [(402, "billing"), (403, "permissions"), (404, "model id"), (413, "32 MB")]
)
def test_what_a_person_can_do_is_said(status, word):
    assert word in failure_with(status, error_body(status)).hint


def test_a_call_that_takes_too_long_timed_out():
    def script(connection):
        connection.request()
        connection.until_the_client_leaves()

    assert type(failure_of(script, call(timeout=0.2))) is CallTimeoutError


FAILURES = {
    "status": lambda: failure_with(400, error_body(400, f"Cannot parse {TASK!r}")),
    "echo": lambda: failure_with(400, error_body(400, f"Authorization: Bearer {KEY} is wrong, so is {KEY}")),
    "html": lambda: failure_with(500, f"<html>{KEY} {TASK}</html>".encode()),
    "stream": lambda: failure_in_stream({**error_body(529, f"Overloaded by {TASK}"), "type": "error"}),
    "reset": lambda: failure_of(lambda connection: connection.request()),
    "no message": lambda: failure_with(200, {"echo": TASK}),
    "no JSON": lambda: failure_with(200, f"{TASK}".encode()),
    "tool": lambda: failure_with(
        200,
        message(
            stop_reason="tool_use",
            content=[{"type": "tool_use", "id": "1", "name": "t", "input": {"x": TASK}}],
        ),
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_no_error_carries_the_key_or_the_prompt_nor_drags_along_an_exception_that_does(failure):
    error = FAILURES[failure]()

    shown = "".join(traceback.format_exception(error)) + repr(error) + json.dumps(error.details)
    pickled = pickle.dumps(error)
    for secret in (KEY, TASK, "saffron", "very old house"):
        assert secret not in shown
        assert secret.encode() not in pickled
    assert error.__cause__ is None
    assert error.__context__ is None
    assert json.loads(json.dumps(error.details)) == error.details


def test_a_message_that_quotes_the_request_is_withheld_and_says_so():
    error = failure_with(400, error_body(400, f"messages.0.content: {TASK[:40]}"))

    assert "withheld" in error.message


def test_a_message_that_quotes_nothing_is_shown():
    error = failure_with(400, error_body(400, "max_tokens: 999999 > 64000, the maximum of this model"))

    assert "999999 > 64000" in error.message


def test_a_very_long_message_is_shortened_to_one_line():
    error = failure_with(400, error_body(400, "no\n" * 5000))

    assert len(error.message) < 400
    assert "\n" not in error.message


def sdk(**changes):
    return anthropic.Anthropic(api_key=KEY, max_retries=0, base_url="http://127.0.0.1:9", **changes)


def raised_by(work) -> Exception:
    try:
        work()
    except Exception as error:  # noqa: BLE001
        return error
    raise AssertionError("nothing was raised")


REQUEST = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": TASK}]}


def test_the_sdks_guard_against_silent_ten_minutes_is_a_rejection_with_a_hint():
    with sdk() as client:
        error = raised_by(lambda: client.messages.create(max_tokens=22_000, **REQUEST))

    verdict = judge(error)

    assert type(error) is ValueError
    assert type(verdict) is CallRejectedError
    assert "max_tokens" in verdict.hint


def test_a_reply_that_the_sdk_cannot_validate_is_a_bad_reply():
    with RawApi(lambda c: c.request() and c.answer(200, b"hi", {"content-type": "text/plain"})) as raw:
        client = anthropic.Anthropic(
            api_key=KEY, base_url=raw.url, max_retries=0, _strict_response_validation=True
        )
        error = raised_by(lambda: client.messages.create(max_tokens=5, **REQUEST))
        client.close()

    assert isinstance(error, anthropic.APIResponseValidationError)
    assert type(judge(error)) is BadReplyError


def test_a_validation_error_of_a_parsed_reply_is_a_bad_reply():
    class Answer(pydantic.BaseModel):
        ok: bool

    with RawApi(lambda c: c.request() and c.answer(200, message(f"not JSON: {TASK}"))) as raw:
        client = anthropic.Anthropic(api_key=KEY, base_url=raw.url, max_retries=0)
        error = raised_by(lambda: client.messages.parse(max_tokens=5, output_format=Answer, **REQUEST))
        client.close()

    verdict = judge(error, answered=True)

    assert isinstance(error, pydantic.ValidationError)
    assert type(verdict) is BadReplyError
    assert "saffron" not in str(verdict)


def test_missing_credentials_are_told_from_other_misuse(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with anthropic.Anthropic(max_retries=0, base_url="http://127.0.0.1:9") as client:
        missing = raised_by(lambda: client.messages.create(max_tokens=5, **REQUEST))
        misuse = raised_by(lambda: client.messages.create(max_tokens=5, temperature=0, **REQUEST))

    assert type(missing) is type(misuse) is TypeError
    assert type(judge(missing)) is CredentialsError
    assert type(judge(misuse)) is CallRejectedError


def test_a_text_that_cannot_be_sent_is_a_rejection_without_the_text():
    provider = AnthropicProvider(ProviderPolicy(base_url="http://127.0.0.1:9", api_key=KEY))
    agent = AgentDefinition(name="a", text="You are a.")

    with pytest.raises(PermanentError) as caught:
        provider.ask(AgentCall(agent, f"{TASK} \ud800", "claude-haiku-4-5", 5, 5.0))

    assert "saffron" not in str(caught.value)


def test_an_exception_thrown_into_the_call_from_outside_comes_out_as_itself():
    """As a soft time limit of a prefork worker is."""

    class SoftTimeLimitError(Exception):
        pass

    def interrupted(*_):
        raise SoftTimeLimitError

    with RawApi(lambda c: c.request() and c.answer(200, message())) as raw:
        provider = AnthropicProvider(ProviderPolicy(base_url=raw.url, api_key=KEY))
        provider.warm()
        transport = provider._clients[0]._client._transport
        transport.handle_request = interrupted

        with pytest.raises(SoftTimeLimitError) as caught:
            provider.ask(call())

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_full_pool_is_a_failed_connection():
    def script(connection):
        connection.request()
        connection.until_the_client_leaves()

    with RawApi(script) as raw:
        provider = AnthropicProvider(
            ProviderPolicy(base_url=raw.url, api_key=KEY, threads=-7, connect_timeout_seconds=0.2)
        )
        provider.warm()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(provider.ask, call(timeout=2))
            eventually(lambda: raw.open_connections, "the first call to take the only connection")
            with pytest.raises(ConnectionFailedError) as caught:
                provider.ask(call())
            assert isinstance(first.exception(timeout=10), CallTimeoutError)

    assert caught.value.details["kind"] == "pool"
