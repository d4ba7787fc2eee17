"""What workers tell Flower of their configuration holds no password."""

from celery import Celery

from cf_workers.application import open_context

PASSWORDS = ("of-the-state", "of-the-broker", "of-the-cache")


def test_the_configuration_that_flower_shows_of_a_worker_holds_no_password(monkeypatch, tmp_path):
    state, broker, cache = PASSWORDS
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CF_WORKERS_REDIS_URL", f"redis://:{state}@localhost:1/0")
    monkeypatch.setenv("CF_WORKERS_BROKER_URL", f"amqp://user:{broker}@localhost:1//")
    monkeypatch.setenv("CF_WORKERS_CACHE_URL", f"redis://:{cache}@localhost:1/1")
    with Celery("shown", set_as_current=False) as app:
        app.conf.update(open_context().celery)

        shown = str(app.conf.table(with_defaults=True))  # what `inspect conf` answers

    assert "localhost:1" in shown
    assert not [password for password in PASSWORDS if password in shown]
