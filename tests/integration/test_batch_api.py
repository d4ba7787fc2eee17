"""The Message Batches API through the real SDK, over HTTP, against the stand-in."""

import pytest

from cf_workers.agents.batch_api import AnthropicBatches, row_failure
from cf_workers.agents.definition import Usage
from cf_workers.agents.prices import cost_usd
from cf_workers.agents.provider import AnthropicProvider, ProviderPolicy
from cf_workers.agents.reply import usage_of
from cf_workers.batches import NotTakenError, RejectedError, Request, UnclearError
from cf_workers.errors import CallRejectedError, OverloadedError, RateLimitedError, SpendLimitError
from cf_workers.simulator import Fault, ScriptedFault, Simulator, SimulatorConfig

MODEL = "claude-haiku-4-5"
BATCHES = "/v1/messages/batches"
ROWS = "batch-row"


@pytest.fixture(scope="module")
def running():
    with Simulator(SimulatorConfig(directives=True, batch_seconds=86_400)) as simulator:
        yield simulator


@pytest.fixture
def simulator(running):
    running.reset()
    return running


@pytest.fixture
def batches(simulator):
    provider = AnthropicProvider(ProviderPolicy(threads=2, base_url=simulator.url, api_key="sk-ant-sim"))
    yield AnthropicBatches(provider, submit_timeout_seconds=30)
    provider.close()


def request(number, text="hello", **params):
    message = {"role": "user", "content": f"{text} {number}"}
    return Request(f"{number:064}", {"model": MODEL, "max_tokens": 50, "messages": [message], **params})


def test_a_batch_goes_out_and_its_results_come_back(batches, simulator):
    made = batches.create([request(n) for n in range(5)])

    assert (made.rows, made.ended) == (5, False)
    assert batches.retrieve(made.id) == made
    simulator.end_batches()
    assert batches.retrieve(made.id).ended
    results = list(batches.results(made.id))
    assert {one.custom_id for one in results} == {f"{n:064}" for n in range(5)}
    assert {one.ending for one in results} == {"succeeded"}


def test_a_row_costs_half_of_what_a_call_costs(batches, simulator):
    made = batches.create([request(1)])
    simulator.end_batches()
    (result,) = batches.results(made.id)

    usage = usage_of(result.message)
    single = Usage(**{**usage.model_dump(), "service_tier": "standard"})

    assert usage.service_tier == "batch"
    assert cost_usd(MODEL, usage) * 2 == cost_usd(MODEL, single) > 0


def test_each_ending_of_a_row_is_told(batches, simulator):
    simulator.set_faults(
        *(
            ScriptedFault(fault, contains=f"row {n}", path=ROWS)
            for n, fault in enumerate(["expired", "canceled", "529", "400", "spend_limit"])
        )
    )
    made = batches.create([request(n, "row") for n in range(6)])
    simulator.end_batches()

    found = {int(one.custom_id): one for one in batches.results(made.id)}

    assert [found[n].ending for n in range(6)] == [
        "expired",
        "canceled",
        "errored",
        "errored",
        "errored",
        "succeeded",
    ]
    assert [found[n].passing for n in (2, 3, 4)] == [True, False, True]
    assert isinstance(row_failure(found[2].error, []), OverloadedError)
    assert isinstance(row_failure(found[3].error, []), CallRejectedError)


def test_the_newest_batches_come_first_over_all_pages(batches, simulator):
    made = [batches.create([request(n)]).id for n in range(120)]

    assert [one.id for one in batches.newest()] == made[::-1]
    assert sum(one.path == BATCHES and one.method == "GET" for one in simulator.requests()) == 2


def test_a_batch_that_is_cancelled_ends_early(batches):
    made = batches.create([request(1)])

    batches.cancel(made.id)

    assert batches.retrieve(made.id).id == made.id


def test_there_is_no_batch_of_an_unknown_id(batches):
    assert batches.retrieve("msgbatch_nowhere") is None


def test_the_results_of_a_batch_that_has_not_ended_cannot_be_had(batches):
    made = batches.create([request(1)])

    with pytest.raises(NotTakenError):
        list(batches.results(made.id))


@pytest.mark.parametrize(
    ("fault", "failure", "error"),
    [
        (Fault(status=429, retry_after=7), NotTakenError, RateLimitedError),
        ("529", NotTakenError, OverloadedError),
        ("spend_limit", NotTakenError, SpendLimitError),
        ("400", RejectedError, CallRejectedError),
        ("500", UnclearError, None),
        ("reset", UnclearError, None),
        ("lost_reply", UnclearError, None),
        ("html", UnclearError, None),
    ],
)
def test_only_a_clear_answer_says_that_no_batch_was_made(batches, simulator, fault, failure, error):
    simulator.set_faults(ScriptedFault(fault, path=BATCHES))

    with pytest.raises(failure) as caught:
        batches.create([request(1)])

    assert error is None or isinstance(caught.value.error, error)
    assert caught.value.__cause__ is None, "it would hold the key and the prompts"
    assert len(list(batches.newest())) == (fault == "lost_reply")


def test_how_long_to_wait_is_passed_on(batches, simulator):
    simulator.set_faults(ScriptedFault(Fault(status=429, retry_after=7), times=2, path=BATCHES))

    for call in (lambda: batches.create([request(1)]), lambda: batches.retrieve("x")):
        with pytest.raises(NotTakenError) as caught:
            call()
        assert caught.value.retry_in == 7


def test_nothing_was_sent_where_nobody_answers():
    provider = AnthropicProvider(
        ProviderPolicy(threads=1, base_url="http://127.0.0.1:1", api_key="sk-ant-sim")
    )

    with pytest.raises(NotTakenError):
        AnthropicBatches(provider).create([request(1)])


def test_the_stand_in_remembers_which_rows_were_paid(batches, simulator):
    simulator.set_faults(ScriptedFault("expired", contains="hello 0", path=ROWS))
    made = batches.create([request(n) for n in range(3)])
    simulator.end_batches()
    batches.retrieve(made.id)

    rows = {row.custom_id: row for row in simulator.rows()}

    assert [rows[f"{n:064}"].outcome for n in range(3)] == ["expired", "succeeded", "succeeded"]
    assert rows[f"{1:064}"].text == "hello 1"
    assert (simulator.stats().batch_rows, simulator.stats().paid_rows) == (3, 2)
