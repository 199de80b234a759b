"""A real S3 server on this machine (moto), with a proxy before it that does what networks and stores do."""

import http.client
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "bucket"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}


class Proxy(BaseHTTPRequestHandler):
    """Hands requests on. `server.rule(method, path, number)` says what happens: nothing, `"busy"` (503, not handed on), `"cut"` (the
    connection ends in the middle of the request's body), `"lost"` (handed on, the answer is not), `"half"` (half of the answer),
    `"skewed"` (the clock of the client is wrong), `"denied"` (these credentials may not do that)."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_request(self):
        server = self.server
        with server.guard:
            number = server.counts[self.command] = server.counts.get(self.command, 0) + 1
        fault = server.rule(self.command, self.path, number)
        time.sleep(server.latency_s)
        length = int(self.headers.get("Content-Length", 0))
        if fault == "cut":
            self.rfile.read(length // 2)
            return self.end()
        body = self.rfile.read(length)
        if fault == "busy":
            return self.answer(503, "<Error><Code>SlowDown</Code></Error>")
        if fault == "skewed":
            return self.answer(403, "<Error><Code>RequestTimeTooSkewed</Code></Error>")
        if fault == "denied":
            return self.answer(403, "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>No</Message></Error>")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in server.dropped}
        connection = http.client.HTTPConnection("127.0.0.1", server.target)
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if fault == "lost":
            return self.end()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if fault == "half" else data)
        if fault == "half":
            self.end()

    def answer(self, status, text):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def end(self):
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_request


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients that are killed or go away are what is tested."""


class Store:
    """The server, its client, and what the program needs in its environment to find it through the proxy."""

    def __init__(self, moto, proxy):
        self.proxy = proxy
        self.s3 = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{moto}",
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        self.s3.create_bucket(Bucket=BUCKET)
        self.environment = {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_port}"}

    def upload(self, folder, prefix):
        """Every file below a folder."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.s3.upload_file(str(file), BUCKET, f"{prefix}/{file.relative_to(folder)}")

    def names(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def read(self, key):
        return self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def write(self, key, data):
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)

    @contextmanager
    def rule(self, rule=lambda *_: None, latency_s=0.0, dropped=()):
        """What the proxy does while this lasts."""
        proxy = self.proxy
        before = proxy.rule, proxy.latency_s, proxy.dropped
        proxy.rule, proxy.latency_s, proxy.dropped, proxy.counts = rule, latency_s, dropped, {}
        try:
            yield
        finally:
            proxy.rule, proxy.latency_s, proxy.dropped = before


@contextmanager
def running():
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    port = moto.get_host_and_port()[1]
    proxy = Server(("127.0.0.1", 0), Proxy)
    proxy.target, proxy.guard, proxy.counts = port, threading.Lock(), {}
    proxy.rule, proxy.latency_s, proxy.dropped = (lambda *_: None), 0.0, ()
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield Store(port, proxy)
    finally:
        proxy.shutdown()
        moto.stop()
