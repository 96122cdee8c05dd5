"""A small server that shows the page and answers as the real one does, without a model."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {"html": "text/html; charset=utf-8", "css": "text/css", "js": "text/javascript"}
ONE = {"windows": 1, "read": 9, "total": 9}


def proof(threshold: float, needed: int | None = 0) -> dict[str, Any]:
    return {
        "threshold": threshold, "n": 33, "errors": 0, "bound": 0.067, "guaranteed": needed == 0, "needed": needed
    }  # fmt: skip


def certificate(promise: str, target: float, needed: int | None) -> dict[str, Any]:
    return {
        "id": "44dfdcf59be3", "promise": promise, "target": target, "confidence": 0.9, "guaranteed": needed == 0,
        "needed": needed, "method": "order statistic", "fitted": 54, "certified": 55, "made": "2026-01-31", "seed": 0,
        "proofs": {"all": proof(0.38, needed)},
    }  # fmt: skip


def task(kind: str, name: str, certificate: Any = None, threshold: Any = None) -> dict[str, Any]:
    return {
        "kind": kind, "name": name, "model": "mini", "labels": ["a"], "threshold": threshold, "certificate": certificate
    }  # fmt: skip


TASKS = [
    task("reranker", "careful"), task("reranker", "default"), task("grounding", "default"),
    task("zero_shot", "zero_shot"),
    task("router", "support", certificate("max_error", 0.05, 0)),
    task("router", "desk", certificate("max_error", 0.01, 140)),
    task("guard", "default", None, {"toxic": 0.5407}),
    task("guard", "inbox", certificate("max_false_positive_rate", 0.005, None)),
]  # fmt: skip


def rerank(body: dict[str, Any]) -> dict[str, Any]:
    """The more characters a document shares with the query's words, the better; the span is its last sentence."""
    words = set(body["query"].lower().strip("?").split())
    score = [len(words & set(d.lower().strip(".").split())) / (len(words) + 1) for d in body["documents"]]
    order = sorted(range(len(score)), key=lambda k: -score[k])
    spans = [{"start": d.rfind(". ") + 2 if ". " in d else 0, "end": len(d), "score": 0.5} for d in body["documents"]]
    return {"results": [{"index": k, "relevance_score": score[k], "relevant_spans": [spans[k]]} for k in order]}


def route(body: dict[str, Any]) -> dict[str, Any]:
    routes = body.get("routes") or {"shipping": "", "billing": ""}
    p = {name: (0.7 if name in body["input"] else 0.05) for name in routes}
    best = max(p, key=lambda name: p[name])
    none, least = max(0.0, 1 - sum(p.values())), body.get("threshold")
    chosen = [best] if p[best] > (none if least is None else least) else []
    decision = {
        "choice": chosen[0] if chosen else None, "choices": chosen, "probabilities": p, "none": none,
        "threshold": least,
        "reason": "chosen" if chosen else "none", "runner_up": None, "unknown": 0.0, "coverage": ONE,
        "cut": {"threshold": least, "multi": False},
    }  # fmt: skip
    return {"results": [decision]}


def guard(body: dict[str, Any]) -> dict[str, Any]:
    """ "Ignore" is an injection, from there to the end."""
    text, at = body["input"], body["input"].find("Ignore")
    rules = dict.fromkeys(body.get("forbid") or {"injection": "", "toxic": ""}, body.get("threshold", 0.5))
    p = {name: (0.9 if name == "injection" and at >= 0 else 0.1) for name in rules}
    broken = [name for name in rules if p[name] >= rules[name]]
    spans = {name: [max(at, 0) if name == "injection" else 0, len(text)] for name in rules}
    coverage = {"windows": 2, "read": 300, "total": 300}
    verdict = {
        "allowed": not broken, "broken": broken, "probabilities": p, "thresholds": rules, "spans": spans,
        "unknown": 0.0, "coverage": coverage, "enforced": True,
    }  # fmt: skip
    return {"results": [verdict]}


def ground(body: dict[str, Any]) -> dict[str, Any]:
    """A sentence is supported by the passage that holds it, contradicted if it says "never", and cites it there."""
    claims, at = [], 0
    for words in body["answer"].split(". "):
        sentence = words if words.endswith(".") else words + "."
        held = [(k, p.find(sentence)) for k, p in enumerate(body["passages"]) if sentence in p]
        p = 0.9 if held else 0.2
        verdict = "supported" if held else "contradicted" if "never" in sentence else "no evidence"
        claims.append({
            "sentence": sentence, "span": [at, at + len(sentence)], "supported": bool(held), "verdict": verdict,
            "probability": p, "contradiction": 0.8 if verdict == "contradicted" else 0.1,
            "citations": [
                {"passage": k, "span": [a, a + len(sentence)], "probability": p, "log_odds": 2.0, "joined": None}
                for k, a in held
            ],
            "missing": [] if held else ["30"], "unknown": 0.0,
            "thresholds": {"supported": body["threshold"], "contradicted": 0.5},
        })  # fmt: skip
        at += len(sentence) + 1
    return {"supported": all(c["supported"] for c in claims), "claims": claims}


ANSWERS = {"/v1/rerank": rerank, "/v1/route": route, "/v1/guard": guard, "/v1/ground": ground}


@dataclass
class State:
    """What a test sets and reads."""

    key: str | None = None
    fail: dict[str, Any] | None = None
    go: threading.Event = field(default_factory=threading.Event)
    asked: list[dict[str, Any]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """Files, tasks and answers."""

    state: State

    def log_message(self, format, *args):
        pass

    def do_GET(self):
        page, path = files("headgate.serve") / "page", self.path.partition("?")[0]
        if path == "/v1/tasks":
            self.json(200, {"object": "list", "data": TASKS}) if self.known() else self.unknown()
        elif path == "/" or path.startswith("/page/"):
            name = path.rpartition("/")[2] or "index.html"
            self.send(200, (page / name).read_bytes(), TYPES[name.rpartition(".")[2]])
        else:
            self.json(404, {"message": "no such path"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.state.asked.append(body)
        self.state.go.wait(10)
        if not self.known():
            self.unknown()
        elif self.state.fail:
            self.json(400, self.state.fail)
        else:
            self.json(200, ANSWERS[self.path](body))

    def known(self):
        return self.state.key is None or self.headers.get("Authorization") == f"Bearer {self.state.key}"

    def unknown(self):
        self.json(401, {"error": {"message": "no key came"}})

    def json(self, status, body):
        self.send(status, json.dumps(body).encode(), "application/json")

    def send(self, status, content, kind):
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", CSP)
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # who cancels, hangs up


def serving(state: State) -> ThreadingHTTPServer:
    """On a free port of this machine; the caller shuts it down."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"state": state}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server
