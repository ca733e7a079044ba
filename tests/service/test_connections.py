"""Connections to a real server: bounded in number, and in how long they may take to ask."""

import contextlib
import socket
import threading

import httpx
import pytest
import uvicorn

from lit_rec.service import connections
from lit_rec.service.connections import LimitedProtocol, allow_many_descriptors


async def app(scope, receive, send):
    await receive()
    body = b"ok" * int(scope["path"].strip("/") or 1)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def serve(until):
    @contextlib.contextmanager
    def served(**limits):
        protocol = type("Protocol", (LimitedProtocol,), limits)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            config = uvicorn.Config(app, http=protocol, log_config=None, lifespan="off", timeout_keep_alive=60)
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            try:
                until(lambda: server.started)
                served.connections = server.server_state.connections
                yield listening.getsockname()
            finally:
                server.should_exit = True
                thread.join()

    return served


def connected(address, sent=b""):
    connection = socket.create_connection(address, timeout=30)
    connection.sendall(sent)
    return connection


def said(connection):
    """All that comes until the server closes."""
    with connection:
        return b"".join(iter(lambda: connection.recv(4_096), b""))


WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET / HT", WHOLE[:-2]])
def test_who_does_not_say_what_it_wants_is_closed(serve, sent):
    with serve(header_timeout_seconds=0.2) as address:
        assert b" 408 " in said(connected(address, sent))


def test_so_is_who_does_not_with_a_second_request(serve):
    with serve(header_timeout_seconds=0.2) as address:
        connection = connected(address, WHOLE)
        assert b" 200 " in connection.recv(4_096)
        connection.sendall(b"GET / HT")
        assert b" 408 " in said(connection)


def test_too_many_cost_the_one_that_has_asked_least_lately(serve):
    with serve(max_connections=3) as address:
        idle = [connected(address, b"GET / HT") for _ in range(3)]
        url = f"http://{address[0]}:{address[1]}"
        with httpx.Client(base_url=url) as client:
            assert client.get("/").text == "ok"
            assert b" 503 " in said(idle[0])
            others = [connected(address) for _ in range(2)]
            assert b" 503 " in said(idle[1])
            assert b" 503 " in said(idle[2])
            assert client.get("/").text == "ok", "it asked later than they came"
        for each in others:
            each.close()


def test_a_request_under_way_is_never_cut_off(serve):
    with serve(max_connections=1) as address:
        half = connected(address, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
        half.close()
        assert httpx.get(f"http://{address[0]}:{address[1]}").status_code == 200


def test_an_idle_connection_is_kept_longer_than_clients_and_balancers_keep_it(serve):
    assert LimitedProtocol.idle_seconds > 60
    with serve(idle_seconds=1) as address:
        assert said(connected(address, WHOLE)).endswith(b"ok"), "closed after its own time, not the server's 60 seconds"


@pytest.mark.parametrize("n_times", [20_000, 20_000_000])
def test_who_does_not_read_the_answer_is_closed(serve, until, n_times):
    with serve(reading_timeout_seconds=0.3) as address, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.connect(address)
        for _ in range(2_000_000 // n_times or 1):  # more than the kernel holds
            deaf.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n_times)
        until(lambda: serve.connections)
        until(lambda: not serve.connections, 10)


def test_who_reads_slowly_gets_the_whole_answer(serve):
    with serve(reading_timeout_seconds=0.5) as address:
        connection, n_read = connected(address, WHOLE.replace(b"/ ", b"/300000 ")), 0
        with connection:
            while n_read < 600_000:
                n_read += len(connection.recv(60_000))
                threading.Event().wait(0.01)


@pytest.mark.parametrize(
    ("limits", "set_to"),
    [
        ((256, connections.resource.RLIM_INFINITY), 65_536),
        ((256, 4_096), 4_096),
        ((1_024, 1_048_576), 65_536),
        ((100_000, 1_048_576), None),
        ((connections.resource.RLIM_INFINITY, connections.resource.RLIM_INFINITY), None),
    ],
)
def test_descriptors_are_raised_to_a_bound(monkeypatch, limits, set_to):
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: limits)
    asked = []
    monkeypatch.setattr(connections.resource, "setrlimit", lambda _, to: asked.append(to))
    allow_many_descriptors()
    assert asked == ([] if set_to is None else [(set_to, limits[1])])


@pytest.mark.parametrize("error", [ValueError("current limit exceeds maximum limit"), OSError("not permitted")])
def test_a_limit_that_cannot_be_raised_keeps_nothing_from_starting(monkeypatch, error, caplog):
    def refuses(_, to):
        raise error

    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (256, connections.resource.RLIM_INFINITY))
    monkeypatch.setattr(connections.resource, "setrlimit", refuses)
    allow_many_descriptors()
    assert "few_descriptors" in caplog.messages
