from __future__ import annotations

from cf_workers.reliability import versions


def test_the_installed_versions_are_supported(caplog):
    versions.warn_unsupported()

    assert caplog.text == ""


def test_another_version_is_named():
    assert versions.unsupported({"celery": "5.8.0", "kombu": "5.7.3"}) == ["celery 5.8.0"]


def test_the_warning_says_what_to_do(caplog, monkeypatch):
    monkeypatch.setattr(versions, "version", lambda _name: "6.0.1")

    versions.warn_unsupported()

    assert "celery 6.0.1, kombu 6.0.1" in caplog.text
    assert "install 'celery>=5.7,<5.8'" in caplog.text
