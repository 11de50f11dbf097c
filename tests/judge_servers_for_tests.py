"""Loopback servers for judges: a scripted one with faults of every kind, and `transformers serve`."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the scripted server does with one request.

    Attributes:
        text: The content of the completion.
        status: HTTP status.
        headers: Further headers.
        body: The whole body in place of a completion.
        cut: Whether the connection is closed in the middle of the body.
        hang: Whether there is no answer until the server stops.
        finish_reason: Why the completion ended.
    """

    text: str | None = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: bool = False
    hang: bool = False
    finish_reason: str = "stop"


@dataclass
class ScriptedServer:
    """A running server.

    Attributes:
        script: Called with a request's JSON and how often its messages were asked before; may be replaced at any time.
        base_url: Its address.
        requests: When and what was asked, in order.
        headers: Of each request, names in lower case.
        most_at_once: Most requests that were under way together.
        stop: Closes the port; requests under way are answered.
    """

    script: Callable[[dict[str, Any], int], Answer]
    base_url: str = ""
    requests: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    stop: Callable[[], None] = lambda: None

    def asked(self, text: str) -> int:
        """How many requests contain a text."""
        return sum(text in json.dumps(request["messages"]) for _, request in self.requests)


@contextmanager
def scripted_server(script: Callable[[dict[str, Any], int], Answer]) -> Iterator[ScriptedServer]:
    """Serve on a free port until the block ends."""
    state, lock, ended, busy = ScriptedServer(script), threading.Lock(), threading.Event(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                before = sum(other["messages"] == request["messages"] for _, other in state.requests)
                state.requests.append((time.monotonic(), request))
                state.headers.append({name.lower(): value for name, value in self.headers.items()})
                busy[0] += 1
                state.most_at_once = max(state.most_at_once, busy[0])
            try:
                self._answer(state.script(request, before))
            finally:
                with lock:
                    busy[0] -= 1

        def _answer(self, answer: Answer) -> None:
            if answer.hang:
                ended.wait(30)
                return
            message = {"role": "assistant", "content": answer.text}
            choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
            completion = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
            body = json.dumps(completion).encode() if answer.body is None else answer.body
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if answer.cut else body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    stopped = threading.Event()

    def stop() -> None:
        if not stopped.is_set():
            stopped.set()
            server.shutdown()
            server.server_close()

    state.stop = stop
    try:
        yield state
    finally:
        ended.set()
        stop()


def unused_address() -> str:
    """The base URL of a port at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


@contextmanager
def transformers_server(model: Path) -> Iterator[str]:
    """`transformers serve` with a model's folder, until the block ends; gives the base URL."""
    address = unused_address()
    port = address.rsplit(":", 1)[1].removesuffix("/v1")
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model)]
    command += ["--host", "127.0.0.1", "--port", port, "--device", "cpu"]
    log = model.parent / "serve.log"
    with log.open("wb") as output:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        deadline = time.monotonic() + 120
        while not _healthy(address.removesuffix("/v1") + "/health"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            threading.Event().wait(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
