"""Which addresses does Flower answer beside its own, and what may a browser do with the answers?"""

from __future__ import annotations

import logging
from collections.abc import Callable
from secrets import token_urlsafe
from typing import TypeVar

import prometheus_client
import redis
from flower.views import BaseHandler
from flower.views.monitor import Metrics
from kombu.exceptions import OperationalError
from tornado.ioloop import IOLoop
from tornado.routing import URLSpec
from tornado.web import HTTPError, authenticated

from cf_workers.errors import CfWorkersError, UnknownRunError
from cf_workers.flower.pages import RunPage, RunsPage
from cf_workers.flower.reading import Reading

log = logging.getLogger("cf_workers.flower")

_REFRESH_MS, _LARGE_REFRESH_MS = 2000, 10_000
_LARGE = 300
"""Steps from which on a page is large."""
_UNAVAILABLE = 503
_Read = TypeVar("_Read")


def handlers(reading: Reading) -> list[URLSpec]:
    """Our pages, and `/metrics` in the place of Flower's, which it contains."""
    given = {"reading": reading}
    return [
        URLSpec(r"/runs", RunsHandler, given, name="runs"),
        URLSpec(r"/run/([^/]+)", RunHandler, given, name="run"),
        URLSpec(r"/metrics", MetricsHandler, given),
    ]


class _PageHandler(BaseHandler):
    """A page that shows values of others: the browser runs no script in it but its own."""

    def initialize(self, reading: Reading) -> None:
        self.reading = reading
        self.nonce = token_urlsafe(16)

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "same-origin")

    async def show(self, template: str, read: Callable[[], RunsPage | RunPage]) -> None:
        """Render what is read, or why it could not be."""
        page: RunsPage | RunPage | None = None
        problem = ""
        try:
            page = await _elsewhere(read)
        except UnknownRunError as error:
            raise HTTPError(404, error.message.replace("%", "%%")) from None
        except (redis.RedisError, OperationalError, OSError, CfWorkersError) as error:
            log.warning("runs.unread error=%s", type(error).__name__)
            problem = f"The server does not answer ({type(error).__name__}). This page tries again by itself."
            self.set_status(_UNAVAILABLE)
        self.set_header(
            "Content-Security-Policy",
            f"default-src 'self'; script-src 'self' 'nonce-{self.nonce}'; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
            "frame-ancestors 'none'",
        )
        self.render(template, page=page, problem=problem, refresh_ms=self._refresh_ms(page), nonce=self.nonce)

    def _refresh_ms(self, page: RunsPage | RunPage | None) -> int:
        """Time between two looks; 0 for a page that stands still."""
        if not self.application.options.auto_refresh:
            return 0
        large = isinstance(page, RunPage) and len(page.steps) > _LARGE
        return _LARGE_REFRESH_MS if large else _REFRESH_MS


class RunsHandler(_PageHandler):
    """The list of runs."""

    @authenticated
    async def get(self) -> None:
        number = self.get_argument("page", default=1, type=int)
        await self.show("runs.html", lambda: self.reading.runs(number))


class RunHandler(_PageHandler):
    """One run."""

    @authenticated
    async def get(self, run: str) -> None:
        await self.show("run.html", lambda: self.reading.run(run))


class MetricsHandler(Metrics):
    """Flower's metrics and the fleet's, open to whom Flower's own are: to everybody who reaches it."""

    def initialize(self, reading: Reading) -> None:
        self.reading = reading

    async def get(self) -> None:
        self.application.purge_offline_worker_metrics()
        fleet = await _elsewhere(self.reading.metrics)
        self.set_header("Content-Type", prometheus_client.CONTENT_TYPE_LATEST)
        self.write(prometheus_client.generate_latest() + fleet)


async def _elsewhere(read: Callable[[], _Read]) -> _Read:
    """The event loop, which takes in all events, waits for no server."""
    return await IOLoop.current().run_in_executor(None, read)
