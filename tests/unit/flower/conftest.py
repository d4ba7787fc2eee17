import asyncio
from types import SimpleNamespace

import pytest
from flower import urls
from prometheus_client import CollectorRegistry, Gauge
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

from cf_workers.flower.handlers import handlers
from cf_workers.flower.loading import Loader
from cf_workers.flower.reading import Reading
from cf_workers.wire import QUEUES
from cf_workers.workflows.explaining import Fleet, explain

OPTIONS = {
    "basic_auth": [],
    "auth": "",
    "url_prefix": None,
    "auto_refresh": True,
    "debug": False,
    "read_only": True,
}


class OneGauge:
    """A collector of one metric, `parrots 3`."""

    def __init__(self):
        self._gauge = Gauge("parrots", "Parrots.", registry=CollectorRegistry())
        self._gauge.set(3)

    def describe(self):
        return ()

    def collect(self):
        return self._gauge.collect()


class Browser:
    """Asks Flower's own web application, with our pages in it, over HTTP."""

    def __init__(self, reading):
        self._handlers = [*handlers(reading), *urls.handlers]

    def get(self, path, *, method="GET", headers=None, **options):
        settings = {**urls.settings, "template_loader": Loader(urls.settings["template_path"])}
        application = Application(self._handlers, **settings)
        application.options = SimpleNamespace(**{**OPTIONS, **options})
        application.purge_offline_worker_metrics = lambda: None

        async def ask():
            server = HTTPServer(application)
            socket, port = bind_unused_port()
            server.add_socket(socket)
            client = AsyncHTTPClient(force_instance=True)
            try:
                return await client.fetch(
                    f"http://127.0.0.1:{port}{path}",
                    method=method,
                    headers=headers,
                    body=b"" if method in ("POST", "PUT") else None,
                    raise_error=False,
                    follow_redirects=False,
                )
            finally:
                client.close()
                server.stop()
                await server.close_all_connections()

        return asyncio.run(ask())

    def text(self, path, **options):
        answer = self.get(path, **options)
        return answer.body.decode()


@pytest.fixture
def reading(engine):
    fleet = Fleet(listeners=dict.fromkeys(QUEUES, 1))

    def waits(run):
        return explain(engine.client, engine.keys, engine.definitions, run, fleet).waits

    return Reading(engine.client, engine.keys, explain=waits, collector=OneGauge())


@pytest.fixture
def browser(reading):
    return Browser(reading)
