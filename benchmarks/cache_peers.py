"""How long does a hit of other Redis caches take? Run by `cache.py`, in an environment that has them.

Reads the texts from standard input, prints microseconds by cache and text. Each is used as its documentation
shows, with what comes nearest to our cache: an exact match of the prompt, and for cashews a signature and
compression as well. Each hit stands beside a bare GET of the text on a connection of redis-py.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import warnings

import redis

warnings.simplefilter("ignore")


def timed(do) -> float:
    began = time.perf_counter()
    do()
    return (time.perf_counter() - began) * 1e6


def langchain(url: str, texts: list[str], rounds: int) -> list[dict[str, list[float]]]:
    from langchain_community.cache import RedisCache
    from langchain_core.outputs import Generation

    client = redis.Redis.from_url(url)
    cache = RedisCache(client, ttl=3600)
    found = []
    for number, text in enumerate(texts):
        prompt = f"what is known {number} " * 10
        cache.update(prompt, "model", [Generation(text=text)])
        client.set("bare", text)
        assert cache.lookup(prompt, "model")[0].text == text
        measured = {"get": [], "hit": []}
        for _ in range(rounds):
            measured["get"].append(timed(lambda: client.get("bare")))
            measured["hit"].append(timed(lambda p=prompt: cache.lookup(p, "model")))
        found.append(measured)
    return found


def cashews(url: str, texts: list[str], rounds: int) -> list[dict[str, list[float]]]:
    from cashews import Cache

    async def measure() -> list[dict[str, list[float]]]:
        cache = Cache()
        cache.setup(url, client_side=False, secret="benchmark", digestmod="sha256", compress_type="gzip")
        client = redis.Redis.from_url(url)
        found = []
        for number, text in enumerate(texts):
            key = f"known:{number}"
            await cache.set(key, text, expire=3600)
            client.set("bare", text)
            assert await cache.get(key) == text
            measured = {"get": [], "hit": []}
            for _ in range(rounds):
                measured["get"].append(timed(lambda: client.get("bare")))
                began = time.perf_counter()
                await cache.get(key)
                measured["hit"].append((time.perf_counter() - began) * 1e6)
            found.append(measured)
        await cache.close()
        return found

    return asyncio.run(measure())


def main() -> None:
    """Measure every cache that is installed."""
    url, rounds = sys.argv[1], int(sys.argv[2])
    texts = json.load(sys.stdin)
    peers = {"langchain-community RedisCache": langchain, "cashews, signed and compressed (asyncio)": cashews}
    found = {}
    for name, measure in peers.items():
        try:
            found[name] = measure(url, texts, rounds)
        except Exception as error:  # noqa: BLE001 - a peer that is not there is not measured
            print(f"{name} was not measured: {type(error).__name__}: {error}", file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
