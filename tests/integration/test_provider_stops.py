"""A call ends in time and can be stopped, whatever it is waiting for at that moment."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time

import pytest

from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentDefinition
from cf_workers.agents.provider import AnthropicProvider, ProviderPolicy
from cf_workers.agents.reply import usage_of
from cf_workers.errors import (
    CallTimeoutError,
    CancelledError,
    ConfigError,
    ConnectionFailedError,
    StreamCutError,
)
from tests.support.raw_api import RawApi, end_of_message, events_of, message, start_of_message
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

SOON = 5.0
"""Seconds within which a stopped call is back: less than any of these would wait, far more than it takes."""


def call(timeout=30.0, max_tokens=64) -> AgentCall:
    agent = AgentDefinition(name="greeter", text="You are the greeter.")
    return AgentCall(agent, "Say hello.", "claude-haiku-4-5", max_tokens, timeout)


def provider_at(url, **policy) -> AnthropicProvider:
    provider = AnthropicProvider(ProviderPolicy(base_url=url, api_key="sk-ant-test", **policy))
    provider.warm()
    return provider


def never_answers(connection):
    connection.request()
    connection.until_the_client_leaves()


def stops_in_the_body(connection):
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{")
    connection.until_the_client_leaves()


def stops_in_a_body_without_length(connection):
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n")
    connection.send(b'{"content": [], "stop_reason": "end_turn"')
    connection.until_the_client_leaves()


def stops_in_the_stream(connection):
    connection.request()
    connection.begin_stream()
    connection.event(start_of_message())
    connection.until_the_client_leaves()


def never_stops_streaming(connection):
    connection.request()
    connection.begin_stream()
    connection.event(start_of_message())
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 50}}
    connection.event(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    )
    pace = threading.Event()
    for _ in range(3000):
        connection.event(delta)
        pace.wait(0.01)


def stops_in_the_handshake(connection):
    connection.until_the_client_leaves()


def reads_nothing(connection):
    threading.Event().wait(20)


PHASES = {
    "waiting for an answer": (never_answers, "http", 64),
    "in the middle of a body": (stops_in_the_body, "http", 64),
    "in a body that ends with the connection": (stops_in_a_body_without_length, "http", 64),
    "in the middle of a silent stream": (stops_in_the_stream, "http", 30_000),
    "in the middle of a busy stream": (never_stops_streaming, "http", 30_000),
    "in the TLS handshake": (stops_in_the_handshake, "https", 64),
}


@contextlib.contextmanager
def waiting_in(phase):
    script, scheme, max_tokens = PHASES[phase]
    with RawApi(script) as raw:
        provider = provider_at(raw.url.replace("http", scheme, 1), connect_timeout_seconds=20)
        yield provider, max_tokens, raw
        provider.close()


@pytest.mark.parametrize("phase", PHASES)
def test_a_cancelled_call_comes_back_at_once_whatever_it_waits_for(phase):
    with waiting_in(phase) as (provider, max_tokens, raw):
        token = CancelToken()
        cancelled_at = []

        def cancel():
            eventually(lambda: raw.open_connections, "the call to arrive")
            threading.Event().wait(0.1)
            cancelled_at.append(time.monotonic())
            token.cancel("the user asked for it")

        threading.Thread(target=cancel, daemon=True).start()
        with pytest.raises(CancelledError, match="the user asked for it") as caught:
            provider.ask(call(max_tokens=max_tokens), token)
        took = time.monotonic() - cancelled_at[0]

        assert took < SOON
        assert caught.value.details["reason"] == "the user asked for it"
        eventually(lambda: raw.open_connections == 0, "the API to see that the client has left")


@pytest.mark.parametrize("phase", PHASES)
def test_the_time_out_bounds_the_whole_call_whatever_it_waits_for(phase):
    with waiting_in(phase) as (provider, max_tokens, _):
        started = time.monotonic()
        with pytest.raises(CallTimeoutError) as caught:
            provider.ask(call(timeout=0.5, max_tokens=max_tokens))
        took = time.monotonic() - started

    assert 0.45 < took < 0.5 + SOON
    assert "0.5 s" in str(caught.value)
    assert "timeout_seconds" in caught.value.hint


def test_what_a_stream_had_cost_when_it_was_cancelled_is_told():
    with waiting_in("in the middle of a silent stream") as (provider, max_tokens, _):
        token = CancelToken()
        threading.Timer(0.3, token.cancel).start()
        with pytest.raises(CancelledError) as caught:
            provider.ask(call(max_tokens=max_tokens), token)

    assert caught.value.details["usage"]["input_tokens"] == 11


@contextlib.contextmanager
def black_hole():
    """An address that accepts no further connection and refuses none."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}"


def test_a_call_that_is_still_connecting_can_be_cancelled():
    with black_hole() as url:
        provider = provider_at(url, connect_timeout_seconds=20)
        token = CancelToken()
        threading.Timer(0.3, token.cancel, ("stop",)).start()
        started = time.monotonic()
        with pytest.raises(CancelledError):
            provider.ask(call(), token)

    assert 0.25 < time.monotonic() - started < 0.3 + SOON


def test_a_connection_that_is_not_made_in_time_failed_and_cost_nothing():
    with black_hole() as url:
        provider = provider_at(url, connect_timeout_seconds=0.3)
        with pytest.raises(ConnectionFailedError) as caught:
            provider.ask(call())

    assert caught.value.details["kind"] == "connect"
    assert "usage" not in caught.value.details


def test_a_call_that_waits_for_a_name_server_can_be_cancelled(monkeypatch):
    released = threading.Event()
    real = socket.getaddrinfo

    def slow(host, *rest, **more):
        if host == "api.test.invalid":
            released.wait(10)
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    provider = provider_at("http://api.test.invalid", connect_timeout_seconds=20)
    token = CancelToken()
    threading.Timer(0.3, token.cancel).start()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        provider.ask(call(), token)
    released.set()

    assert time.monotonic() - started < 0.3 + SOON


def test_a_cancelled_token_stops_a_call_before_anything_is_sent():
    with RawApi(never_answers) as raw:
        provider = provider_at(raw.url)
        token = CancelToken()
        token.cancel("no longer needed")
        with pytest.raises(CancelledError, match="no longer needed"):
            provider.ask(call(), token)

        assert raw.connections == 0


def test_a_cancelled_call_leaves_the_other_calls_alone():
    def slow(connection):
        while connection.request():
            threading.Event().wait(0.5)
            connection.answer(200, message())

    with RawApi(slow) as raw:
        provider = provider_at(raw.url)
        outcomes = {}

        def ask(name, token):
            try:
                outcomes[name] = provider.ask(call(), token).output
            except CancelledError:
                outcomes[name] = "cancelled"

        tokens = {name: CancelToken() for name in ("one", "two", "three")}
        threads = [threading.Thread(target=ask, args=item) for item in tokens.items()]
        for thread in threads:
            thread.start()
        eventually(lambda: raw.open_connections == 3, "all calls to arrive")
        tokens["two"].cancel()
        for thread in threads:
            thread.join(10)
        provider.close()

    assert outcomes == {"one": "hello", "two": "cancelled", "three": "hello"}


def test_cancelling_after_the_reply_harms_no_later_call_on_the_same_connection():
    def script(connection):
        while connection.request():
            connection.answer(200, message())

    with RawApi(script) as raw:
        provider = provider_at(raw.url)
        for _ in range(20):
            token = CancelToken()
            assert provider.ask(call(), token).output == "hello"
            token.cancel()
        provider.close()

        assert raw.connections == 1


def test_a_call_cancelled_after_its_last_byte_returns_its_reply_and_leaves_the_connection_alone(monkeypatch):
    """The connection is back in the pool by then, and may be another call's."""
    token = CancelToken()

    def cancelling_usage_of(body):
        token.cancel("a moment too late")
        return usage_of(body)

    monkeypatch.setattr("cf_workers.agents.provider.usage_of", cancelling_usage_of)
    with RawApi(several) as raw:
        provider = provider_at(raw.url)
        first = provider.ask(call(), token)
        second = provider.ask(call())
        provider.close()

        assert (first.output, second.output) == ("hello", "hello")
        assert raw.connections == 1


def test_a_token_is_forgotten_by_the_calls_that_ended():
    with RawApi(several) as raw:
        provider = provider_at(raw.url)
        token = CancelToken()
        for _ in range(3):
            provider.ask(call(), token)
        provider.close()

    assert token._callbacks == {}


def test_the_deadline_covers_all_turns_of_a_paused_reply():
    def script(connection):
        while connection.request():
            threading.Event().wait(0.3)
            connection.answer(200, message(stop_reason="pause_turn"))

    with RawApi(script) as raw:
        provider = provider_at(raw.url)
        started = time.monotonic()
        with pytest.raises(CallTimeoutError) as caught:
            provider.ask(call(timeout=0.5))
        provider.close()

    assert time.monotonic() - started < 0.5 + SOON
    assert caught.value.details["usage"]["output_tokens"] == 7


def test_a_slow_trickle_does_not_outlive_the_deadline():
    """Each byte comes well within any read time-out; only a bound on the whole call ends this."""

    def trickle(connection):
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(200):
            connection.send(b" ")
            threading.Event().wait(0.05)

    with RawApi(trickle) as raw:
        provider = provider_at(raw.url)
        started = time.monotonic()
        with pytest.raises(CallTimeoutError):
            provider.ask(call(timeout=0.4))

    assert time.monotonic() - started < 0.4 + SOON


def test_a_large_request_to_an_api_that_does_not_read_can_be_stopped():
    with RawApi(reads_nothing) as raw:
        provider = provider_at(raw.url)
        agent = AgentDefinition(name="a", text="x" * 20_000_000)
        started = time.monotonic()
        with pytest.raises(CallTimeoutError):
            provider.ask(AgentCall(agent, "t", "claude-haiku-4-5", 64, 1.0))

    assert time.monotonic() - started < 1.0 + SOON


def breaks(data):
    def script(connection):
        connection.request()
        connection.send(data)

    return script


@pytest.mark.parametrize(
    ("data", "error", "kind"),
    [
        (b"", ConnectionFailedError, "before_reply"),
        (b"HTTP/1.1 200 OK\r\ncontent-", ConnectionFailedError, "before_reply"),
        (b"no http at all\r\n\r\n", ConnectionFailedError, "before_reply"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{", StreamCutError, "in_reply"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{", StreamCutError, "in_reply"),
    ],
    ids=["no answer", "half a head", "no HTTP", "half a body", "half a chunk"],
)
def test_a_connection_that_breaks_says_how_far_the_answer_had_come(data, error, kind):
    with RawApi(breaks(data)) as raw:
        provider = provider_at(raw.url)
        with pytest.raises(error) as caught:
            provider.ask(call())

    assert caught.value.details["kind"] == kind


def test_a_stream_that_is_cut_off_abruptly_was_cut():
    def script(connection):
        connection.request()
        connection.begin_stream()
        connection.event(start_of_message())

    with RawApi(script) as raw:
        provider = provider_at(raw.url)
        with pytest.raises(StreamCutError) as caught:
            provider.ask(call(max_tokens=30_000))

    assert caught.value.details["usage"]["input_tokens"] == 11


def test_a_port_on_which_nothing_listens_is_a_failed_connection():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    provider = provider_at(f"http://127.0.0.1:{port}")

    with pytest.raises(ConnectionFailedError) as caught:
        provider.ask(call())

    assert caught.value.details["kind"] == "connect"


def test_a_host_that_does_not_exist_is_told_apart(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    provider = provider_at("http://no-such-host.invalid")

    with pytest.raises(ConnectionFailedError) as caught:
        provider.ask(call())

    assert caught.value.details["kind"] == "dns"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost that only those trust who are told to."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return key, cert


@pytest.fixture
def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    return context


def several(connection):
    while connection.request():
        connection.answer(200, message())


def test_calls_over_tls_work_and_share_a_connection(tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    with RawApi(several, tls=tls) as raw:
        provider = provider_at(raw.url)
        replies = [provider.ask(call()).output for _ in range(3)]
        provider.close()

        assert replies == ["hello"] * 3
        assert raw.connections == 1


def test_a_certificate_that_is_not_trusted_is_refused(tls):
    with RawApi(several, tls=tls) as raw:
        provider = provider_at(raw.url)
        with pytest.raises(ConnectionFailedError) as caught:
            provider.ask(call())

    assert caught.value.details["kind"] == "connect"


@pytest.mark.parametrize("script", [never_answers, stops_in_the_body, stops_in_the_stream])
def test_calls_over_tls_are_stopped_as_quickly(tls, certificate, monkeypatch, script):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    with RawApi(script, tls=tls) as raw:
        provider = provider_at(raw.url)
        token = CancelToken()
        threading.Timer(0.5, token.cancel).start()
        started = time.monotonic()
        with pytest.raises(CancelledError):
            provider.ask(call(max_tokens=30_000 if script is stops_in_the_stream else 64), token)

    assert 0.45 < time.monotonic() - started < 0.5 + SOON


def test_a_proxy_named_by_the_environment_is_used(monkeypatch):
    lines = []

    def proxy(connection):
        while request := connection.request():
            lines.append(request[0])
            connection.answer(200, message())

    with RawApi(proxy) as raw:
        monkeypatch.setenv("HTTP_PROXY", raw.url)
        provider = provider_at("http://api.behind.invalid")
        reply = provider.ask(call())
        provider.close()

    assert reply.output == "hello"
    assert lines == ["POST http://api.behind.invalid/v1/messages HTTP/1.1"]


def test_tls_goes_through_a_proxy_and_is_stopped_there_too(tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    with RawApi(never_answers, tls=tls) as raw:

        def proxy(connection):
            assert connection.request()[0].startswith(f"CONNECT localhost:{raw.port} ")
            connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
            with socket.create_connection(("127.0.0.1", raw.port)) as onward:
                pipe = threading.Thread(target=pump, args=(onward, connection._socket), daemon=True)
                pipe.start()
                pump(connection._socket, onward)

        with RawApi(proxy) as middle:
            monkeypatch.setenv("HTTPS_PROXY", middle.url)
            provider = provider_at(raw.url)
            started = time.monotonic()
            with pytest.raises(CallTimeoutError):
                provider.ask(call(timeout=1.0))
            provider.close()

            assert time.monotonic() - started < 1.0 + SOON
            assert (middle.connections, raw.connections) == (1, 1)


def pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_no_proxy_is_respected(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with RawApi(several) as raw:
        provider = provider_at(raw.url)

        assert provider.ask(call()).output == "hello"
        provider.close()


@pytest.mark.parametrize("url", ["https://proxy.test:3128", "ftp://proxy.test", "socks5://proxy.test:1080"])
def test_a_proxy_that_cannot_be_used_is_a_configuration_error_before_the_first_call(monkeypatch, url):
    monkeypatch.setenv("ALL_PROXY", url)
    provider = AnthropicProvider(ProviderPolicy(base_url="http://api.test", api_key="k"))

    with pytest.raises(ConfigError) as caught:
        provider.warm()

    assert caught.value.hint


def test_a_whole_streamed_reply_leaves_its_connection_for_the_next_call():
    blocks = [({"type": "text", "text": ""}, [{"type": "text_delta", "text": "hello"}])]

    def script(connection):
        while connection.request():
            connection.begin_stream()
            for event in (start_of_message(), *events_of(blocks), *end_of_message()):
                connection.event(event)
            connection.end_stream()

    with RawApi(script) as raw:
        provider = provider_at(raw.url)
        replies = [provider.ask(call(max_tokens=30_000)).output for _ in range(3)]
        provider.close()

        assert replies == ["hello"] * 3
        assert raw.connections == 1
