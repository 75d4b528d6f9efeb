"""Clients that send or take a byte now and then: they are cut off, and hold up nobody."""

import socket
import time

import pytest

from console.server import Patience
from console.store import announce
from console.tables import create_tables
from streaming.database import open_engine
from tests.console_server import running

SOON_S = 5.0


@pytest.fixture
def engine(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/console.db")
    create_tables(engine)
    yield engine
    engine.dispose()


def connect(server, keeps=65_536):
    """A connection that keeps at most so many bytes that nobody has read."""
    connection = socket.socket()
    connection.settimeout(SOON_S)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, keeps)
    connection.connect(("127.0.0.1", server.port))
    return connection


def ends(connection):
    """What still comes until the other side closes."""
    found = b""
    try:
        while data := connection.recv(65_536):
            found += data
    except ConnectionResetError:
        pass
    return found


def ask(server, path="/livez"):
    with connect(server) as connection:
        headers = "host: localhost\r\nconnection: close"
        connection.sendall(f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
        return ends(connection)


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nhost: localhost\r\nx: "])
def test_headers_must_come_to_an_end(engine, monkeypatch, sent):
    monkeypatch.setattr(Patience, "HEADERS_S", 0.4)
    with running(engine=engine) as server, connect(server) as slow:
        slow.sendall(sent)
        began = time.monotonic()
        assert ask(server).startswith(b"HTTP/1.1 200")
        assert ends(slow) == b""
        assert time.monotonic() - began < SOON_S


def test_so_must_those_of_the_next_request(engine, monkeypatch):
    monkeypatch.setattr(Patience, "HEADERS_S", 0.4)
    with running(engine=engine) as server, connect(server) as slow:
        slow.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert slow.recv(65_536).startswith(b"HTTP/1.1 200")
        slow.sendall(b"GET /livez HT")
        assert b"HTTP/1.1" not in ends(slow)


def test_a_body_must_come_to_an_end(engine, monkeypatch):
    monkeypatch.setattr("console.app.BODY_S", 0.4)
    with running(engine=engine) as server, connect(server) as slow:
        slow.sendall(
            b"POST /api/v1/alerts/x/decisions HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        )
        found = ends(slow)
        assert found.startswith(b"HTTP/1.1 408")
        assert b"did not come to an end" in found


def test_who_takes_nothing_is_let_go(engine, monkeypatch):
    monkeypatch.setattr(Patience, "READER_S", 0.4)
    with engine.begin() as connection:
        # More than what the kernel keeps on the way.
        announce(connection, [("alerts", "긴" * 200)] * 9_000)
    with running(engine=engine) as server, connect(server, keeps=1024) as slow:
        slow.sendall(b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        deadline = time.monotonic() + SOON_S
        while server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not server.server_state.connections
        assert ask(server).startswith(b"HTTP/1.1 200")


def test_headers_have_a_limit(engine):
    with running(engine=engine) as server, connect(server) as large:
        large.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"x" * 40_000)
        assert ends(large).startswith(b"HTTP/1.1 400")
