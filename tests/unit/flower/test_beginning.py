"""Flower begins on this machine alone and read-only; whoever sets an option anywhere wins."""

import logging

import pytest
from flower.options import default_options
from flower.urls import settings
from tornado.options import OptionParser
from tornado.template import Loader as TornadoLoader

from cf_workers.flower.beginning import TASKS_COLUMNS, set_defaults, warn_if_open
from cf_workers.flower.loading import Loader, with_link


@pytest.fixture
def options():
    """Options as Flower defines them, set by nobody."""
    made = OptionParser()
    for name in ("address", "tasks_columns", "read_only", "basic_auth", "auth", "unix_socket"):
        theirs = default_options._options[name.replace("_", "-")]
        made.define(name, default=theirs.default, type=theirs.type, multiple=theirs.multiple)
    made.address, made.read_only  # noqa: B018 - they exist
    return made


@pytest.fixture(autouse=True)
def flower_as_shipped(monkeypatch):
    shipped = {"address": "", "tasks-columns": "name,uuid,state", "read-only": False}
    for name, value in shipped.items():
        monkeypatch.setattr(default_options._options[name], "default", value)


def parsed(options, *arguments):
    options.parse_command_line(["flower", *arguments])
    set_defaults(options)
    return options


def test_it_listens_on_this_machine_and_only_shows(options):
    parsed(options)

    assert options.address == "127.0.0.1"
    assert options.read_only is True
    assert options.tasks_columns == TASKS_COLUMNS


@pytest.mark.parametrize("argument", ["--basic_auth=ann:secret", "--auth=.*@example.org"])
def test_whoever_has_said_who_they_are_may_do_things(options, argument):
    assert parsed(options, argument).read_only is False


def test_what_somebody_has_set_wins(options):
    parsed(options, "--address=0.0.0.0", "--read_only=false", "--tasks_columns=name")

    assert (options.address, options.read_only, options.tasks_columns) == ("0.0.0.0", False, "name")


def test_read_only_stays_where_it_is_asked_for(options):
    assert parsed(options, "--basic_auth=ann:secret", "--read_only").read_only is True


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        ([], False),
        (["--address=0.0.0.0"], True),
        (["--address="], True),
        (["--address=0.0.0.0", "--basic_auth=ann:secret"], False),
        (["--unix_socket=/run/flower", "--address=0.0.0.0"], False),
    ],
)
def test_an_open_door_is_said(options, caplog, arguments, warned):
    parsed(options, *arguments)

    with caplog.at_level(logging.WARNING):
        warn_if_open(options)

    assert ("FLOWER_BASIC_AUTH" in caplog.text) is warned
    assert "secret" not in caplog.text


def test_arguments_that_name_agent_and_run_are_a_column():
    assert "args" in TASKS_COLUMNS.split(",")


def test_templates_of_flower_are_its_own_and_its_navigation_has_one_link_more():
    ours, theirs = Loader(settings["template_path"]), TornadoLoader(settings["template_path"])

    assert ours.load("workers.html").code == theirs.load("workers.html").code
    assert ours.load("navbar.html").code.count("reverse_url") == (
        theirs.load("navbar.html").code.count("reverse_url") + 1
    )


def test_a_navigation_that_looks_otherwise_is_left_alone():
    assert with_link("<nav>new</nav>") == "<nav>new</nav>"
