"""Abuse, accidents and signals, against a real server: no 500, no hang, nothing lost."""

import json
import os
import random
import signal
import socket
import threading
import time

import pytest

pytest.importorskip("fastapi", reason='pip install "headgate[serve]"')

from tests.serve.serving import begun, serving, wait_ready

pytestmark = pytest.mark.slow

GOOD = {
    "/v1/rerank": {"query": "reset the hub", "documents": ["hold the button", {"text": "two years"}], "top_n": 1},
    "/rerank": {"query": "reset", "texts": ["a", "b"], "raw_scores": True},
    "/v1/ranking": {"query": {"text": "reset"}, "passages": [{"text": "a"}]},
    "/score": {"text_1": "reset", "text_2": ["a", "b"]},
    "/classify": {"input": ["hello"]},
    "/predict": {"inputs": [["a"], ["b"]]},
    "/v1/moderations": {"input": ["hello"]},
    "/v1/classify": {"inputs": ["a"], "examples": [{"text": "b", "label": "x"}, {"text": "c", "label": "y"}]},
    "/v1/route": {"input": "where is it", "routes": {"a": "invoices", "b": "parcels"}, "threshold": 0.5},
    "/v1/guard": {"inputs": ["hello", [{"role": "user", "content": "there"}]]},
    "/v1/ground": {"answer": "It is new.", "passages": ["It is new."], "threshold": 0.5},
    "/v1/decide": {"input": "hello", "questions": {"a": {"type": "yes_no", "yes": "joy"}}},
    "/v1/guard/stream": {"text": "Hello there. How are you?", "on_broken": "redact"},
}
BODIES = {path: json.dumps(body).encode() for path, body in GOOD.items()}
RERANK = BODIES["/v1/rerank"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


def well(server):
    """It answers as if nothing had been."""
    status, body = server.post("/v1/rerank", RERANK)
    assert status == 200
    assert json.loads(body)["results"][0]["index"] == 0


@pytest.mark.parametrize("path", GOOD)
def test_each_of_them_is_answered(server, path):
    assert server.post(path, BODIES[path])[0] == 200


ODD = {
    "empty": b"",
    "cut": b'{"query": "a", "documents": ["b"',
    "null": b"null",
    "list": b"[]",
    "number": b"1" * 5000,
    "infinite": b'{"query": "a", "documents": ["b"], "top_n": 1e999, "input": 1e999, "threshold": 1e999}',
    "nan": b'{"query": NaN, "documents": NaN, "input": NaN, "inputs": NaN, "text": NaN}',
    "long integer": b'{"query": "a", "documents": ["b"], "top_n": ' + b"9" * 5000 + b"}",
    "deep": b"[" * 100_000,
    "deep object": b'{"documents":' * 20_000,
    "surrogate": rb'{"query": "\ud800", "documents": ["\udfff"], "input": "\ud800", "text": "\ud800"}',
    "not UTF-8": b'{"query": "\xff\xfe", "documents": ["\xc3"], "input": "\xff"}',
    "twice": b'{"query": "a", "query": "b", "documents": ["c"], "documents": []}',
    "long key": b'{"' + b"k" * 1_000_000 + b'": 1}',
    "wrong types": b'{"query": {"a": 1}, "documents": {"b": []}, "input": {}, "inputs": {}, "passages": 7, "text": []}',
    "zeros": b"\x00" * 1000,
    "utf-16": '{"query": "a", "documents": ["b"]}'.encode("utf-16"),
}


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize("name", ODD)
def test_odd_bodies_are_refused_or_answered_and_never_a_500(server, path, name):
    status, body = server.post(path, ODD[name], timeout=10)
    assert status in (200, 400, 422, 413), (status, body[:300])
    if not (status == 200 and path == "/v1/guard/stream"):
        json.loads(body)


def test_after_all_of_that_it_is_well_and_nothing_broke(server):
    well(server)
    assert "Traceback" not in server.words()
    assert " ERROR " not in server.words()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\nhello\r\n0\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"POST /v1/rerank HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\nnull",
        b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
        b"content-encoding: gzip\r\n"
        b"content-length: 2\r\n\r\n{}",
        b"GET /v1/tasks%00%ff HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    ],
)
def test_odd_requests_are_refused_or_cut_off(server, sent):
    with socket.create_connection(("127.0.0.1", server.port), 5) as link:
        link.settimeout(5)
        link.sendall(sent)
        link.shutdown(socket.SHUT_WR)
        status, _ = server.reply(link)
    assert status == 0 or 400 <= status < 500
    well(server)


def test_pipelined_requests_are_answered_in_turn(server):
    one = b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(
        RERANK
    )
    sent = (one + b"\r\n" + RERANK) * 2 + one + b"connection: close\r\n\r\n" + RERANK
    with socket.create_connection(("127.0.0.1", server.port), 20) as link:
        link.sendall(sent)
        found = b""
        while piece := link.recv(1 << 16):
            found += piece
    assert found.count(b"HTTP/1.1 200") == 3


def test_a_thousand_mutations_break_nothing(server):
    draw = random.Random(0)
    seen = {}
    for n in range(1000):
        path = draw.choice(list(BODIES))
        body = bytearray(BODIES[path])
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(body))
            body[at : at + draw.randint(0, 3)] = bytes(
                draw.randrange(256) for _ in range(draw.randint(0, 3))
            ) or draw.choice([b'"', b"}", b"[", b"-1", b"null"])
        status, reply = server.post(path, bytes(body), timeout=20)
        seen[status] = seen.get(status, 0) + 1
        assert status in (200, 400, 404, 422), (n, path, bytes(body), status, reply[:300])
    assert seen[200] > 10
    assert seen[400] > 200
    well(server)


def test_clients_that_leave_free_their_places(server):
    words = " ".join(f"word{i}" for i in range(3000))
    body = json.dumps({"query": "reset", "documents": [f"{i} {words}" for i in range(20)]}).encode()
    head = b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
        body
    )
    for n in range(30):
        with socket.create_connection(("127.0.0.1", server.port), 5) as link:
            link.sendall(head + (body if n % 2 else body[: len(body) // 2]))
    until = time.monotonic() + 60
    while time.monotonic() < until:
        metrics = server.ask("GET", "/metrics")[1].decode()
        under_way = float(
            next(line for line in metrics.splitlines() if line.startswith("headgate_requests_under_way")).split()[1]
        )
        if under_way <= 1:  # this one
            break
        time.sleep(0.5)
    assert under_way <= 1
    assert "Traceback" not in server.words()
    well(server)


def test_slow_ones_are_cut_off_and_others_are_served_meanwhile(tmp_path):
    (tmp_path / "serve.yaml").write_text("headgate: 1\nlimits: {upload: 1}\n")
    with serving(tmp_path, "--config", str(tmp_path / "serve.yaml")) as server:
        head = b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
        links = [socket.create_connection(("127.0.0.1", server.port), 20) for _ in range(20)]
        for link in links:
            link.sendall(head + b'{"query": ')
        began = time.monotonic()
        well(server)
        for link in links:
            link.settimeout(20)
            assert link.recv(1 << 16).startswith(b"HTTP/1.1 408")
            link.close()
        assert time.monotonic() - began < 20


def test_no_text_is_in_the_log(server):
    mark = "Zyxwvut"
    for path, body in BODIES.items():
        marked = body.replace(b"hello", mark.encode()).replace(b"reset", mark.encode()).replace(b"new", mark.encode())
        server.post(path, marked)
        server.post(path, marked[:-1])
        server.post(path, marked.replace(b'"', b'"' + mark.encode(), 3))
    assert mark not in server.words()


def slow_request(server, found):
    words = " ".join(f"word{i}" for i in range(300))
    body = json.dumps({"query": "reset", "documents": [f"{i} {words}" for i in range(20)]}).encode()
    found.append(server.post("/v1/rerank", body, timeout=60)[0])


def test_sigterm_lets_requests_end(tmp_path):
    with serving(tmp_path) as server:
        found = []
        request = threading.Thread(target=slow_request, args=(server, found))
        request.start()
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        request.join(60)
        assert found == [200]
        assert server.process.wait(30) in (0, -signal.SIGTERM)


def test_while_it_lingers_it_answers_and_is_not_ready(tmp_path):
    (tmp_path / "serve.yaml").write_text("headgate: 1\nlimits: {linger: 3}\n")
    with serving(tmp_path, "--config", str(tmp_path / "serve.yaml")) as server:
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.ask("GET", "/ready")[0] == 503
        assert server.ask("GET", "/health")[0] == 200
        well(server)
        assert server.process.wait(30) in (0, -signal.SIGTERM)


def served_names(server):
    return {one["name"] for one in json.loads(server.ask("GET", "/v1/tasks")[1])["data"] if one["kind"] == "router"}


def test_reloads_drop_no_request_and_a_broken_file_changes_nothing(tmp_path):
    file = tmp_path / "serve.yaml"
    one = "headgate: 1\nrouters: {%s: {scorer: mini/route, routes: [a, b]}}\n"
    file.write_text(one % "first")
    with serving(tmp_path, "--config", str(file)) as server:
        assert served_names(server) == {"first"}
        stop, statuses = threading.Event(), []

        def load():
            while not stop.is_set():
                statuses.append(server.post("/v1/rerank", RERANK)[0])

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        for n in range(8):
            file.write_text(one % f"router{n}")
            if n % 2:
                assert server.post("/v1/reload", b"", timeout=60)[0] == 200
            else:
                server.process.send_signal(signal.SIGHUP)
                until = time.monotonic() + 60
                while served_names(server) != {f"router{n}"}:
                    assert time.monotonic() < until
                    time.sleep(0.1)
            assert served_names(server) == {f"router{n}"}
        file.write_text("headgate: 1\nrouterz: {}\n")
        status, body = server.post("/v1/reload", b"")
        assert status == 400
        assert b"routerz" in body
        assert served_names(server) == {"router7"}
        stop.set()
        for thread in threads:
            thread.join()
        assert len(statuses) > 20
        assert set(statuses) == {200}


def test_a_kill_in_the_middle_of_a_reload_costs_nothing(tmp_path):
    file = tmp_path / "serve.yaml"
    file.write_text("headgate: 1\nrouters: {desk: {scorer: mini/route, routes: [a, b]}}\n")
    before = file.read_bytes()
    for delay in (0.0, 0.1, 0.4):
        server = wait_ready(begun(tmp_path, "--config", str(file)))
        server.process.send_signal(signal.SIGHUP)
        time.sleep(delay)
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        assert file.read_bytes() == before
    with serving(tmp_path, "--config", str(file)) as server:
        assert served_names(server) == {"desk"}
        well(server)
