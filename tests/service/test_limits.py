"""Keys and limits by themselves, and with a real Redis where one is installed."""

import asyncio
import os
import shutil
import socket
import subprocess
import time

import pytest

from lit_rec.service.limits import Keys, RateLimits


def test_an_accepted_key_has_a_name_that_does_not_tell_it():
    keys = Keys(["first", "second"])
    assert keys
    assert keys.name_of("first") != keys.name_of("second")
    assert "first" not in keys.name_of("first")
    assert keys.name_of("firs") is None
    assert keys.name_of("") is None


def test_without_keys_nobody_has_one():
    assert not Keys([])
    assert Keys([]).name_of("x") is None


def hits(limits, n, caller="me"):
    async def several():
        return [await limits.seconds_to_wait(caller, "/recommend") for _ in range(n)]

    return asyncio.run(several())


def test_within_the_limit_there_is_nothing_to_wait_for():
    assert hits(RateLimits("3/minute", "memory://"), 3) == [None] * 3


def test_beyond_it_the_wait_is_told():
    *within, beyond = hits(RateLimits("3/minute", "memory://"), 4)
    assert within == [None] * 3
    assert 1 <= beyond <= 60


def test_of_several_limits_the_tightest_counts():
    assert hits(RateLimits("100/hour;2/minute", "memory://"), 3)[2] is not None


def test_callers_are_counted_apart():
    limits = RateLimits("1/minute", "memory://")
    assert hits(limits, 2)[1] is not None
    assert hits(limits, 1, "another") == [None]


def test_off_is_off():
    assert hits(RateLimits("", "memory://"), 50) == [None] * 50


def test_without_redis_each_process_counts_by_itself(caplog):
    limits = RateLimits("2/minute", "redis://127.0.0.1:1")
    began = time.monotonic()
    assert [wait is None for wait in hits(limits, 3)] == [True, True, False]
    assert time.monotonic() - began < 5
    failures = [record for record in caplog.records if record.getMessage() == "rate_limit_storage_failed"]
    assert len(failures) == 1, "it is not asked again at every request"


@pytest.fixture
def redis(tmp_path, until):
    server = shutil.which("redis-server")
    if server is None:
        assert "CI" not in os.environ, "apt-get install redis-server"
        pytest.skip("needs redis-server: apt-get install redis-server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        until(lambda: socket.create_connection(("127.0.0.1", port)).close() is None)
        yield f"redis://127.0.0.1:{port}"
        process.terminate()


def test_in_redis_several_processes_count_together(redis):
    first, second = RateLimits("4/minute", redis), RateLimits("4/minute", redis)

    async def both():
        waits = [await limits.seconds_to_wait("me", "/recommend") for _ in range(3) for limits in (first, second)]
        for limits in (first, second):
            await limits.close()
        return waits

    waits = asyncio.run(both())
    assert [wait is None for wait in waits] == [True] * 4 + [False] * 2
