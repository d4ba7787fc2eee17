"""A server's address is told without its password."""

import pytest

from cf_workers._redis import connect, describe_url

SECRETS = ("s3cret", "gabi")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://gabi:s3cret@db.example:6380/2", "redis://db.example:6380/2"),
        ("redis://:s3cret@db.example", "redis://db.example"),
        ("rediss://gabi:s3cret@[::1]:6379/1", "rediss://[::1]:6379/1"),
        ("redis://db.example/0?password=s3cret&username=gabi", "redis://db.example/0"),
        ("unix:///run/redis.sock?password=s3cret", "unix:///run/redis.sock"),
        ("amqp://gabi:s3cret@mq.example//", "amqp://mq.example//"),
    ],
)
def test_an_address_is_told_without_user_password_and_options(url, told):
    assert describe_url(url) == told


@pytest.mark.parametrize(
    "url",
    [
        "redis://gabi:s3cret/with-slash@db.example:6379/0",
        "redis://gabi:12/s3cret@db.example:6379/0",
        "redis://gabi:s3cret#hash@db.example:6379/0",
        "redis://gabi:s3cret?mark@db.example:6379/0",
        "redis://gabi:s3cret@[::1:6379/0",
        "redis://gabi:s3cret@db.example:port/0",
        "gabi:s3cret@db.example",
        "redis:gabi:s3cret@db.example",
        "",
    ],
)
def test_an_address_that_cannot_be_read_tells_nothing_of_its_password(url):
    told = describe_url(url)

    assert not any(secret in told for secret in SECRETS)


def test_connecting_sends_nothing_before_the_first_command():
    client = connect("redis://nowhere.invalid:1/3", max_connections=7)

    assert client.connection_pool.max_connections == 7
    assert client.connection_pool.connection_kwargs["db"] == 3
    assert client.get_encoder().decode_responses
