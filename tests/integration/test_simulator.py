"""The stand-in as the real SDK sees it, over real HTTP."""

from __future__ import annotations

import http.client
import json
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anthropic
import httpx2
import pytest

from cf_workers.errors import InputError, UnreachableError
from cf_workers.simulator import Fault, ScriptedFault, Simulator, SimulatorConfig, SimulatorControl
from tests.support import Processes, eventually

pytestmark = pytest.mark.integration

KEY = "sk-ant-test-key"
SONNET = "claude-sonnet-5-5"
LONG = "# Code Reviewer\n" + "You review code with care. " * 300


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with Simulator(SimulatorConfig(directives=True, batch_seconds=0.2)) as running:
        yield running


@pytest.fixture
def sim(shared: Simulator) -> Simulator:
    shared.reset()
    return shared


@pytest.fixture(scope="module")
def client(shared: Simulator) -> Iterator[anthropic.Anthropic]:
    with sdk(shared.url) as made:
        yield made


def sdk(url: str, key: str = KEY, **options: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        api_key=key, base_url=url, **({"max_retries": 0, "timeout": 20.0, "open_telemetry": False} | options)
    )


def wanted(task: str = "Review this diff", **fields: Any) -> dict[str, Any]:
    body = {"model": SONNET, "max_tokens": 500, "messages": [{"role": "user", "content": task}]}
    return body | fields


def cached_system() -> list[dict[str, Any]]:
    return [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]


def test_a_call_is_answered_and_says_that_it_is_simulated(sim, client):
    raw = client.messages.with_raw_response.create(**wanted(system=LONG))

    message = raw.parse()
    assert "simulated" in message.content[0].text.casefold()
    assert "Code Reviewer" in message.content[0].text
    assert (message.stop_reason, message.usage.service_tier) == ("end_turn", "standard")
    assert raw.request_id.startswith("req_sim_")
    assert not [name for name in raw.headers if name.startswith("anthropic-ratelimit")]


def test_a_stream_tells_the_same_reply_as_the_whole_message(sim, client):
    whole = client.messages.create(**wanted())
    with client.messages.stream(**wanted()) as stream:
        deltas = list(stream.text_stream)
        told = stream.get_final_message()

    assert "".join(deltas) == whole.content[0].text == told.content[0].text
    assert len(deltas) > 1
    assert told.usage.output_tokens == whole.usage.output_tokens
    assert told.usage.input_tokens == whole.usage.input_tokens
    assert told.stop_reason == "end_turn"


def test_a_stream_begins_before_it_ends(sim, client):
    began = time.monotonic()
    with client.messages.stream(**wanted("[[sim ttft=0.1 latency=3]]")) as stream:
        next(iter(stream))
        first = time.monotonic() - began
        stream.until_done()
        last = time.monotonic() - began

    assert 0.1 <= first < 3 <= last


def test_a_streamed_thinking_block_comes_before_the_text(sim, client):
    sim.set_faults("thinking")
    with client.messages.stream(**wanted()) as stream:
        message = stream.get_final_message()

    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].signature


def test_the_second_call_reads_the_prefix_that_the_first_one_wrote(sim, client):
    first = client.messages.create(**wanted("one", system=cached_system())).usage
    second = client.messages.create(**wanted("two", system=cached_system())).usage

    assert first.cache_creation_input_tokens == first.cache_creation.ephemeral_5m_input_tokens > 1024
    assert (first.cache_read_input_tokens, second.cache_creation_input_tokens) == (0, 0)
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.input_tokens == first.input_tokens == 1


def test_parallel_first_calls_all_pay_for_the_prefix(sim, client):
    tasks = [f"[[sim latency=0.5]] {number}" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        replies = pool.map(lambda task: client.messages.create(**wanted(task, system=cached_system())), tasks)
        written = [reply.usage.cache_creation_input_tokens for reply in replies]

    assert all(written)


def test_tokens_are_counted_as_they_are_billed(sim, client):
    counted = client.messages.count_tokens(model=SONNET, system=LONG, messages=wanted()["messages"])
    billed = client.messages.create(**wanted(system=LONG)).usage

    assert counted.input_tokens == billed.input_tokens > 1000


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("400", anthropic.BadRequestError, None),
        ("401", anthropic.AuthenticationError, None),
        ("402", anthropic.PaymentRequiredError, None),
        ("403", anthropic.PermissionDeniedError, None),
        ("429", anthropic.RateLimitError, None),
        ("500", anthropic.InternalServerError, None),
        ("503", anthropic.ServiceUnavailableError, None),
        ("504", anthropic.GatewayTimeoutError, None),
        ("529", anthropic.OverloadedError, None),
        ("workspace_limit", anthropic.BadRequestError, None),
        ("spend_limit", anthropic.EnforcedSpendLimitReachedError, "enforced_spend_limit_reached"),
        ("contract_spend_limit", anthropic.ContractSpendLimitReachedError, "contract_spend_limit_reached"),
        ("ramp_limit", anthropic.RampLimitExceededError, "ramp_limit_exceeded"),
    ],
)
def test_a_scripted_error_arrives_as_the_sdks_own_exception(sim, client, name, kind, code):
    sim.set_faults(name)

    with pytest.raises(kind) as caught:
        client.messages.create(**wanted())

    assert caught.value.error_code == code
    assert caught.value.request_id.startswith("req_sim_")
    assert client.messages.create(**wanted()).stop_reason == "end_turn"


def test_a_rate_limit_carries_retry_after_and_a_spend_limit_does_not(sim, client):
    found = {}
    for name in ("429", "spend_limit"):
        sim.set_faults(name)
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(**wanted())
        found[name] = caught.value.response.headers.get("retry-after")

    assert found == {"429": "1", "spend_limit": None}


def test_a_gateways_page_is_not_json(sim, client):
    sim.set_faults("html")

    with pytest.raises(anthropic.InternalServerError) as caught:
        client.messages.create(**wanted())

    assert caught.value.status_code == 502
    assert isinstance(caught.value.body, str)


@pytest.mark.parametrize("fault", ["reset", "stream_cut"])
def test_a_broken_connection_arrives_as_one(sim, client, fault):
    sim.set_faults(fault)

    with pytest.raises(anthropic.APIConnectionError):
        client.messages.create(**wanted())


def test_a_hang_ends_by_the_clients_time_out_which_the_log_shows(sim):
    sim.set_faults("hang")

    with sdk(sim.url, timeout=0.3) as impatient, pytest.raises(anthropic.APITimeoutError):
        impatient.messages.create(**wanted())

    record = eventually(lambda: [r for r in sim.requests() if r.finished_at], "the end of the hang")[0]
    assert (record.disconnected, record.status, record.fault) == (True, None, "hang")
    assert sim.stats().in_flight == 0


def test_an_error_event_breaks_a_stream(sim, client):
    sim.set_faults(Fault(kind="stream_error", status=529))

    with client.messages.stream(**wanted()) as stream, pytest.raises(anthropic.APIStatusError) as caught:
        stream.until_done()

    assert (caught.value.status_code, caught.value.type) == (200, "overloaded_error")


def test_a_cut_stream_is_a_transport_error(sim, client):
    sim.set_faults("stream_cut")

    with client.messages.stream(**wanted()) as stream, pytest.raises(httpx2.RemoteProtocolError):
        stream.until_done()


def test_a_stream_that_ends_early_has_no_stop_reason(sim, client):
    sim.set_faults("stream_end")

    with client.messages.stream(**wanted()) as stream:
        message = stream.get_final_message()

    assert message.stop_reason is None


def test_a_slow_body_takes_its_time(sim, client):
    sim.set_faults(Fault(kind="slow_body", seconds=0.4))
    began = time.monotonic()

    assert client.messages.create(**wanted()).stop_reason == "end_turn"

    assert time.monotonic() - began >= 0.35


def test_a_refusal_is_an_ordinary_answer(sim, client):
    sim.set_faults("refusal")

    message = client.messages.create(**wanted())

    assert (message.stop_reason, message.stop_details.category) == ("refusal", "general_harms")
    assert message.content == []


def test_a_fault_can_be_meant_for_one_agent(sim, client):
    sim.set_faults(ScriptedFault(Fault(status=500), agent="code reviewer", times=None))

    assert client.messages.create(**wanted(system="# Tester")).stop_reason == "end_turn"
    with pytest.raises(anthropic.InternalServerError):
        client.messages.create(**wanted(system=LONG))


def test_a_directive_fails_the_first_attempts_of_a_call(sim):
    with sdk(sim.url, max_retries=2) as patient:
        message = patient.messages.create(**wanted("[[sim fail=529 times=2]] go"))

    assert message.stop_reason == "end_turn"
    assert [(r.status, r.sdk_retry) for r in sim.requests()] == [(529, 0), (529, 1), (200, 2)]
    assert len({r.body_sha256 for r in sim.requests()}) == 1


def test_directives_are_plain_text_unless_switched_on(sim, client):
    sim.configure(directives=False)

    assert client.messages.create(**wanted("[[sim fail=529]]")).stop_reason == "end_turn"


def test_an_enforced_limit_is_advertised_and_its_retry_after_holds(sim, client):
    sim.configure(requests_per_minute=60, burst_seconds=1)
    raw = client.messages.with_raw_response.create(**wanted())

    with pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.create(**wanted())

    assert raw.headers["anthropic-ratelimit-requests-limit"] == "60"
    assert caught.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
    with sdk(sim.url, max_retries=1) as patient:
        assert patient.messages.create(**wanted()).stop_reason == "end_turn"


@pytest.mark.parametrize("key", ["invalid-key", "sk-invalid"])
def test_a_key_that_calls_itself_invalid_is_rejected(sim, key):
    with sdk(sim.url, key) as wrong, pytest.raises(anthropic.AuthenticationError):
        wrong.messages.create(**wanted())


def test_only_the_required_key_is_accepted():
    with Simulator(SimulatorConfig(api_key=KEY)) as strict, sdk(strict.url) as right:
        assert right.messages.create(**wanted()).stop_reason == "end_turn"
        with sdk(strict.url, "another") as wrong, pytest.raises(anthropic.AuthenticationError):
            wrong.messages.create(**wanted())


def test_a_key_may_come_in_either_header_and_the_version_must_come(sim):
    headers = {"content-type": "application/json", "x-api-key": KEY}
    body = b'{"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}'

    assert post(sim.url, body, headers | {"anthropic-version": "2026-10-21"}) == 200
    assert post(sim.url, body, headers) == 400
    assert post(sim.url, body, {"anthropic-version": "2026-10-21"}) == 401


def test_a_body_above_32_mb_is_too_large(sim, client):
    with pytest.raises(anthropic.ContentTooLargeError):
        client.messages.create(**wanted("x" * (33 * 1024 * 1024)))


def test_a_sampling_parameter_is_refused(sim, client):
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        client.messages.create(**wanted(), extra_body={"temperature": 0})


def test_models_are_listed_and_found(sim, client):
    assert SONNET in [model.id for model in client.models.list(limit=5)]
    assert client.models.retrieve(SONNET).display_name == "Claude Sonnet 5.5"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude-nonesuch-9")


def batch_of(*tasks: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"custom_id": f"row-{n}", "params": wanted(task, **fields)} for n, task in enumerate(tasks)]


def ended(client: anthropic.Anthropic, batch_id: str) -> Any:
    def look() -> Any:
        batch = client.messages.batches.retrieve(batch_id)
        return batch if batch.processing_status == "ended" else None

    return eventually(look, "the end of the batch")


def test_a_batch_ends_with_a_result_for_every_row(sim, client):
    sim.set_faults(ScriptedFault(Fault(kind="canceled"), contains="stop me", path="batch-row"))
    requests = batch_of("fine", "[[sim fail=expired]]", "[[sim fail=529]]", "stop me")
    requests.append({"custom_id": "bad", "params": wanted(model="claude-nonesuch-9")})

    created = client.messages.batches.create(requests=requests)
    batch = ended(client, created.id)
    results = {line.custom_id: line.result for line in client.messages.batches.results(created.id)}

    assert (created.processing_status, created.request_counts.processing) == ("in_progress", 5)
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (1, 2)
    assert (batch.request_counts.expired, batch.request_counts.canceled) == (1, 1)
    assert results["row-0"].message.usage.service_tier == "batch"
    assert results["row-1"].type == "expired"
    assert results["row-2"].error.error.type == "overloaded_error"
    assert results["row-3"].type == "canceled"
    assert results["bad"].error.error.type == "not_found_error"
    assert sim.stats().batch_rows == 5


def test_a_row_of_a_batch_says_what_the_call_alone_would_say(sim, client):
    created = client.messages.batches.create(requests=batch_of("same"))
    ended(client, created.id)

    (line,) = client.messages.batches.results(created.id)

    assert line.result.message.content[0].text == client.messages.create(**wanted("same")).content[0].text


def test_a_cancelled_batch_has_cancelled_rows(sim, client):
    sim.configure(batch_seconds=5)
    created = client.messages.batches.create(requests=batch_of(*map(str, range(20))))

    assert client.messages.batches.cancel(created.id).processing_status == "canceling"

    assert ended(client, created.id).request_counts.canceled >= 15


def test_batches_are_listed_newest_first_and_deleted_when_they_have_ended(sim, client):
    ids = [client.messages.batches.create(requests=batch_of("x")).id for _ in range(5)]

    with pytest.raises(anthropic.BadRequestError):
        client.messages.batches.delete(ids[-1])
    assert [batch.id for batch in client.messages.batches.list(limit=2)] == ids[::-1]
    ended(client, ids[0])
    assert client.messages.batches.delete(ids[0]).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(ids[0])


def test_results_are_refused_before_the_batch_has_ended(sim, client):
    created = client.messages.batches.create(requests=batch_of("x"))

    with pytest.raises(anthropic.AnthropicError):
        client.messages.batches.results(created.id)


def test_a_call_about_a_batch_can_be_failed_by_its_path(sim, client):
    created = client.messages.batches.create(requests=batch_of("x"))
    sim.set_faults(ScriptedFault(Fault(status=529), path="/v1/messages/batches", contains="GET"))

    with pytest.raises(anthropic.OverloadedError):
        client.messages.batches.retrieve(created.id)
    assert client.messages.batches.retrieve(created.id).id == created.id


def test_the_log_shows_every_request_but_never_a_key(sim, client):
    control = SimulatorControl(sim.url)
    client.messages.create(**wanted(system=LONG))
    with client.messages.stream(**wanted("second")) as stream:
        stream.until_done()

    first, second = control.requests(bodies=True)

    assert (first.number, first.model, first.status, first.agent) == (1, SONNET, 200, "Code Reviewer")
    assert (first.stream, second.stream, first.max_tokens) == (False, True, 500)
    assert first.finished_at >= first.received_at
    assert first.usage["output_tokens"] > 0
    assert "Review this diff" in first.body
    assert first.credential == second.credential
    assert re.fullmatch("[0-9a-f]{12}", first.credential)
    assert KEY not in str([first, second])
    assert [record.body for record in control.requests(since=1)] == [None]


def test_the_stand_in_is_steered_from_another_process(sim, client):
    control = SimulatorControl(sim.url)
    control.configure(latency=0.3)
    control.set_faults("529")
    control.add_faults(ScriptedFault(Fault(kind="reset")))
    for kind in (anthropic.OverloadedError, anthropic.APIConnectionError):
        with pytest.raises(kind):
            client.messages.create(**wanted())

    began = time.monotonic()
    client.messages.create(**wanted())

    assert time.monotonic() - began >= 0.3
    assert control.stats().by_outcome == {"529": 1, "reset": 1, "200": 1}
    assert control.config()["latency"] == 0.3
    control.reset()
    assert (control.requests(), control.config()["latency"]) == ([], 0.0)


def test_a_wrong_control_request_is_refused_with_its_reason(sim):
    control = SimulatorControl(sim.url)

    with pytest.raises(InputError, match="latencey"):
        control.configure(latencey=1)
    with pytest.raises(UnreachableError):
        SimulatorControl("http://127.0.0.1:9").stats()


def test_a_client_that_leaves_in_the_middle_of_a_stream_is_noticed(sim, client):
    with client.messages.stream(**wanted("[[sim ttft=0.05 latency=30]]")) as stream:
        next(iter(stream))
        stream.response.close()

    assert eventually(lambda: sim.stats().disconnected, "the client's leaving") == 1
    assert sim.stats().in_flight == 0


def test_replies_can_be_held_until_they_are_let_go(sim):
    sim.configure(hold=True)
    with sdk(sim.url) as client, ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(client.messages.create, **wanted(f"{number}")) for number in range(4)]
        eventually(lambda: sim.stats().in_flight == 4, "four calls in flight", timeout=30)
        assert not any(call.done() for call in calls)

        sim.configure(hold=False)

        assert all(call.result(30).content for call in calls)


def test_hundreds_of_slow_calls_are_held_at_once(sim):
    sim.set_faults(ScriptedFault(Fault(kind="hang"), times=None))
    headers = {"x-api-key": KEY, "anthropic-version": "2026-10-21"}
    waiting = [http.client.HTTPConnection(urlsplit(sim.url).netloc, timeout=10) for _ in range(300)]

    for connection in waiting:
        connection.request("POST", "/v1/messages", json.dumps(wanted()), headers)

    eventually(lambda: sim.stats().in_flight == 300, "300 calls in flight")
    for connection in waiting:
        connection.close()
    eventually(lambda: sim.stats().in_flight == 0, "all of them to be let go")
    assert sim.stats().peak_in_flight == sim.stats().disconnected == 300


def test_a_port_that_is_taken_is_named_and_ends_with_3(sim, processes: Processes):
    port = str(urlsplit(sim.url).port)
    child = processes.start(sys.executable, "-m", "cf_workers.simulator", "--port", port, until=None)

    assert child.wait() == 3
    assert port in child.output()


def test_it_runs_as_a_command_that_announces_itself_and_stops_cleanly(processes: Processes, tmp_path: Path):
    file = tmp_path / "url"
    child = processes.start(
        *(sys.executable, "-m", "cf_workers.simulator", "--url-file", str(file), "--fault", "529=1.0"),
        until="SIMULATED",
    )

    url = eventually(lambda: file.read_text().strip() if file.exists() else "", "the URL file")

    assert child.output().strip().endswith(url)
    assert len(child.output().strip().splitlines()) == 1
    with sdk(url) as client, pytest.raises(anthropic.OverloadedError):
        client.messages.create(**wanted())
    assert child.terminate() == 0
    assert len(child.output().strip().splitlines()) == 1


def test_a_command_line_that_cannot_be_used_ends_with_2(processes: Processes):
    child = processes.start(sys.executable, "-m", "cf_workers.simulator", "--fault", "nonsense=1", until=None)

    assert child.wait() == 2
    assert "nonsense" in child.output()


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("POST", "/v1/messages", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()
