"""How the server and each of its peers is started; starts and measures nothing itself."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bench import client
from bench.errors import BenchError, ToolMissingError
from bench.plan import Stage
from bench.ports import free_port
from bench.processes import Program

OURS = "ours"
PLAIN = "plain FastAPI"
NGINX = "nginx, the same answers"
NGINX_ONE = "nginx, one answer"
BARE = "bare ASGI"
FAST = ("--loop", "uvloop", "--http", "httptools")

NGINX_CONF = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
    split_clients $request_id $which {{ {shares} }}
    access_log {log};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/json;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        root {folder}/site;
        location = {path} {{ try_files {path}.$which =404; }}
    }}
}}
"""


@dataclass(frozen=True)
class Prepared:
    """Answers of ours to be sent by others: each with its share of all answers, the largest first."""

    answers: tuple[tuple[float, bytes], ...]

    @classmethod
    def of(cls, bodies: Iterable[bytes]) -> Prepared:
        """Take one answer a picture, as often as the picture came; pictures are told apart by their bytes."""
        count: Counter[bytes] = Counter()
        first: dict[bytes, bytes] = {}
        for body in bodies:
            picture = body.partition(b'","metadata"')[0]
            count[picture] += 1
            first.setdefault(picture, body)
        return cls(tuple((times / count.total(), first[picture]) for picture, times in count.most_common()))

    def nearest_to_the_mean(self) -> Prepared:
        """Return the one answer whose size is nearest to the mean."""
        mean = sum(share * len(body) for share, body in self.answers)
        return Prepared(((1.0, min((body for _, body in self.answers), key=lambda body: abs(len(body) - mean))),))

    def spread(self, pieces: int = 100) -> list[bytes]:
        """Return about `pieces` answers, each as often as its share says, at least once."""
        return [body for share, body in self.answers for _ in range(max(1, round(share * pieces)))]


@dataclass(frozen=True)
class Contender:
    """A server to measure: how it starts, how it shows it is ready, where its request log goes."""

    program: Program
    ready: Callable[[int], bool]
    request_log: Path | None

    @property
    def name(self) -> str:
        """The heading of its column."""
        return self.program.name

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"https://127.0.0.1:{self.program.port}{path}"


@dataclass(frozen=True)
class ScoreFiles:
    """Where a server keeps what certifies scores: the ledger, and the keys, which are made where there are none."""

    folder: Path

    @property
    def ledger(self) -> Path:
        """The ledger; what belongs to it lies beside it."""
        return self.folder / "scores.jsonl"

    @property
    def key(self) -> Path:
        """The private key that signs scores."""
        return self.folder / "signing_key.pem"

    @property
    def certificate(self) -> Path:
        """Its certificate."""
        return self.folder / "signing_cert.pem"

    @property
    def checkpoint_key(self) -> Path:
        """The private key that signs checkpoints."""
        return self.folder / "checkpoint_key.pem"


def ours(stage: Stage, scores: ScoreFiles | None = None) -> Contender:
    """The server itself, as its users start it, with its log of requests on; its keys and its ledger are our own."""
    script = stage.root / "gen-server.py"
    if not script.is_file():
        raise BenchError(f"{script} is not there")
    port, output = free_port(), stage.folder / "ours.log"
    scores = scores or ScoreFiles(stage.folder / "scores")
    env = {
        "MINIMON_PORT": str(port),
        "MINIMON_HTTP_PORT": "0",
        "MINIMON_RATE_LIMIT_PER_MIN": "0",
        "MINIMON_TLS_CERT_PATH": str(stage.certificate.certificate),
        "MINIMON_TLS_KEY_PATH": str(stage.certificate.key),
        "MINIMON_SIGNING_KEY_PATH": str(scores.key),
        "MINIMON_SIGNING_CERT_PATH": str(scores.certificate),
        "MINIMON_CHECKPOINT_KEY_PATH": str(scores.checkpoint_key),
        "MINIMON_SCORE_LEDGER_PATH": str(scores.ledger),
    }
    program = Program(OURS, (sys.executable, script.name), port, stage.root, output, env)
    return Contender(program, client.ready(client.HEALTH, stage.context), output)


def plain_fastapi(stage: Stage) -> Contender:
    """The obvious FastAPI program, with uvicorn's access log on as it is by default."""
    argv = (*_uvicorn(stage), "--factory", "bench.peers.plain_fastapi:create_app")
    return _python_peer(stage, PLAIN, argv, client.HEALTH, {}, logs=True)


def plain_fastapi_scores(stage: Stage, key: Path, ledger: Path) -> Contender:
    """The obvious FastAPI program that certifies scores, likewise."""
    argv = (*_uvicorn(stage), "--factory", "bench.peers.plain_fastapi_scores:create_app")
    env = {"MINIMON_BENCH_KEY": str(key), "MINIMON_BENCH_LEDGER": str(ledger)}
    return _python_peer(stage, PLAIN, argv, client.HEALTH, env, logs=True)


def bare_asgi(stage: Stage, prepared: Prepared) -> Contender:
    """A bare function that sends prepared bytes, without a log: the limit of this stack."""
    folder = stage.folder / "bare"
    folder.mkdir()
    for number, body in enumerate(prepared.spread()):
        (folder / f"{number:03}").write_bytes(body)
    argv = (*_uvicorn(stage), "--no-access-log", "--lifespan", "off", "--factory", "bench.peers.bare_asgi:make_app")
    return _python_peer(stage, BARE, argv, client.GENERATE, {"MINIMON_BENCH_BODIES": str(folder)}, logs=False)


def nginx(stage: Stage, prepared: Prepared, name: str = NGINX) -> Contender:
    """One nginx worker that sends prepared answers as static files, each as often as we do."""
    path = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if path is None:
        raise ToolMissingError("nginx is missing; install it with: apt-get install nginx-light")
    folder, port = stage.folder / name.replace(" ", "-").replace(",", ""), free_port()
    answer = folder / "site" / client.GENERATE.lstrip("/")
    answer.parent.mkdir(parents=True)
    shares = []
    for number, (share, body) in enumerate(prepared.answers):
        answer.with_name(f"{answer.name}.{number}").write_bytes(body)
        last = number == len(prepared.answers) - 1
        shares.append(f"{'*' if last else f'{share:.2%}'} {number};")
    log, conf = folder / "access.log", folder / "nginx.conf"
    conf.write_text(
        NGINX_CONF.format(
            folder=folder,
            log=log,
            port=port,
            certificate=stage.certificate.certificate,
            key=stage.certificate.key,
            path=client.GENERATE,
            shares=" ".join(shares),
        ),
        encoding="utf-8",
    )
    argv = (path, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(conf))
    program = Program(name, argv, port, folder, folder / "output")
    return Contender(program, client.ready(client.GENERATE, stage.context), log)


def _uvicorn(stage: Stage) -> tuple[str, ...]:
    pair = stage.certificate
    secured = ("--ssl-certfile", str(pair.certificate), "--ssl-keyfile", str(pair.key))
    return (sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", *FAST, *secured)


def _python_peer(
    stage: Stage, name: str, argv: tuple[str, ...], probe: str, env: dict[str, str], *, logs: bool
) -> Contender:
    port = free_port()
    output = stage.folder / f"{name.replace(' ', '-')}.log"
    program = Program(name, (*argv, "--port", str(port)), port, stage.root, output, env)
    return Contender(program, client.ready(probe, stage.context), output if logs else None)
