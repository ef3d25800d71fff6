"""The composition root, the file to read first: settings -> parts -> app -> listeners. Decides nothing else.

The environment is read here and nowhere else. `python gen-server.py` calls `main`; `uvicorn gen_server:app` takes the
attribute `app`, which is made when it is asked for: importing this file does nothing.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

HOME = Path(__file__).resolve().parent
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it

try:
    from minimon_server import __version__
    from minimon_server.creatures.dice import Dice
    from minimon_server.creatures.hatchery import Hatchery
    from minimon_server.creatures.naming import LocalNames, NameSource
    from minimon_server.creatures.rarity import RarityTable
    from minimon_server.engines.files import load_pictures
    from minimon_server.environment import read_settings, unknown_variables
    from minimon_server.errors import StartupError
    from minimon_server.logs import Lines, Logger, LogSink, adopt_standard_library
    from minimon_server.scores import key_files
    from minimon_server.scores.certify import Randomness, Scores
    from minimon_server.scores.custody import Keys
    from minimon_server.scores.ledger import Paths
    from minimon_server.scores.rehearsal import rehearse
    from minimon_server.scores.signer import make_signer
    from minimon_server.settings import Settings
    from minimon_server.terminal import banner, parse, say, warnings_about
    from minimon_server.times import Clock
    from minimon_server.web import ledger, metrics, serve, tls
    from minimon_server.web.app import make_app
    from minimon_server.web.edge import Edge, Limits
    from minimon_server.web.readiness import Check, Readiness
    from minimon_server.web.serve import Binding
    from minimon_server.web.tally import Tally
except ModuleNotFoundError as error:
    if (error.name or "").startswith(("minimon_server", "gen_server")):
        raise
    raise SystemExit(
        f"The Python package {error.name!r} is not installed for {sys.executable}.\n"
        f"Run 'make run' in {HOME}, or: python -m pip install -r {HOME / 'requirements.txt'}"
    ) from None

if TYPE_CHECKING:
    from starlette.applications import Starlette


@dataclass(frozen=True, slots=True)
class Server:
    """The parts of one server, made and not yet listening."""

    settings: Settings
    app: Starlette
    lines: Lines
    names: NameSource
    log: Logger
    sink: LogSink
    readiness: Readiness
    tally: Tally


def build(settings: Settings, environ: Mapping[str, str]) -> Server:
    """Make every part that the settings ask for; raise `StartupError` when one cannot be made."""
    hatchery = make_hatchery(settings)
    sink = LogSink(os.open(os.devnull, os.O_WRONLY) if sys.stdout is None else sys.stdout.fileno())
    lines = Lines(sink, level=settings.log_level, as_json=settings.log_json, secrets=settings.secrets)
    log = lines.logger()
    adopt_standard_library(log)
    for line in unknown_variables(environ):
        log.warning("unknown setting", problem=line)
    names = make_names(settings, log)
    readiness = make_readiness(settings, hatchery, names)
    scores = make_scores(settings, lines)
    readiness.add("scores", lambda: Check(scores.facts, scores.trouble))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        log.info("start", version=__version__, backend=settings.generation_backend, names=settings.name_backend)
        await scores.start()
        try:
            yield
        finally:
            readiness.end()
            await names.close()
            await scores.close()
        log.info("end")
        sink.flush()

    tally = Tally()
    app = make_app(
        settings,
        hatchery,
        lines,
        lifespan=lifespan,
        names=names,
        ready=readiness,
        faces=ledger.faces(scores),
        sources=[metrics.log(sink), metrics.scores(scores)],
        tally=tally,
    )
    return Server(settings, app, lines, names, log, sink, readiness, tally)


def make_hatchery(settings: Settings) -> Hatchery:
    """Read the pictures and return what makes creatures of them."""
    pictures = load_pictures(settings.images_dir, settings.image_pattern, settings.min_index, settings.max_index)
    return Hatchery(pictures, RarityTable(settings.rarity_weights), settings.picture_choice)


def make_names(settings: Settings, log: Logger) -> NameSource:
    """Return who names creatures; an HTTP client is imported only for remote names."""
    if settings.name_backend == "local":
        return LocalNames()
    try:
        from minimon_server.creatures.remote_names import Model, RemoteNames
    except ModuleNotFoundError as error:
        install = f"run 'make run' in {HOME}, or: python -m pip install -r {HOME / 'requirements.txt'}"
        lines = [f"MINIMON_NAME_BACKEND=remote needs the Python package {error.name!r}: {install}"]
        raise StartupError(lines, exit_status=1) from None
    model = Model(
        settings.openai_base_url,
        settings.openai_model,
        settings.openai_api_key.get_secret_value(),
        settings.openai_timeout,
        settings.name_language,
    )
    return RemoteNames(model, log, log_content=settings.log_remote_content, clock=time.monotonic)


def make_scores(settings: Settings, lines: Lines) -> Scores:
    """Load the keys, making those that may be made, and take the ledger's lock; the ledger itself is read later."""
    files, paths, log = key_files.files_of(settings), Paths(settings.score_ledger_path), lines.logger()

    def tell(remarkable: str) -> None:
        log.warning("keys", problem=remarkable)
        say(remarkable)

    signing = key_files.load_signing_key(files, key_files.passphrase_of(settings), tls.utc_now(), tell)
    begun = paths.beside("checkpoint").exists()
    checkpoint = key_files.load_checkpoint_key(files, signing.public, tell, may_make=not begun)
    dice = Dice()
    randomness = Randomness(id=lambda: dice.throw()[:12].hex(), nonce=lambda: dice.throw()[:16].hex())
    return Scores(paths, Keys(signing, make_signer(signing, lines), checkpoint), randomness, Clock(), log)


def make_readiness(settings: Settings, hatchery: Hatchery, names: NameSource) -> Readiness:
    """Return what `/ready` asks; pictures and local names are whole from the start, or there is no start."""
    pictures = Check({"backend": settings.generation_backend, "count": len(hatchery.pictures)})

    def named() -> Check:
        # A name server that fails is no trouble: every creature has its local name.
        if names.breaker is None:
            return Check({"backend": settings.name_backend})
        fallen = {reason.value: count for reason, count in names.fall_backs.items() if count}
        return Check({"backend": settings.name_backend, "breaker": names.breaker.value, "fallBacks": fallen})

    return Readiness({"pictures": lambda: pictures, "names": named})


def bindings(settings: Settings) -> list[Binding]:
    """Return where to listen: HTTPS, making its certificate on the first start, and HTTP unless it is off."""
    certificate, key = settings.tls_cert_path, settings.tls_key_path
    if tls.make_pair_if_missing(certificate, key, tls.names_of_this_machine(settings), tls.utc_now()):
        say(f"Made a self-signed certificate: {certificate} and {key}.")
    found = [Binding(settings.host, settings.port, "MINIMON_PORT", tls.server_context(certificate, key))]
    if settings.http_port:
        found.append(Binding(settings.host, settings.http_port, "MINIMON_HTTP_PORT", None))
    return found


def run(settings: Settings, environ: Mapping[str, str]) -> None:
    """Serve until a signal ends it."""
    server = build(settings, environ)
    log = server.log
    try:
        places = bindings(settings)
        for warning in warnings(settings):
            log.warning(warning)
            say(f"WARNING: {warning}")

        def ready() -> None:
            # What lives now lives until the end: collections need not walk it again, and pauses stay short.
            gc.collect()
            gc.freeze()
            log.info("listening", host=settings.host, https=settings.port, http=settings.http_port or None)
            say(banner(settings))

        def ending() -> None:
            server.readiness.end()
            log.info("ending", grace_seconds=settings.shutdown_grace)
            server.names.stop()

        loop, loop_choice = serve.event_loop(log)
        files = serve.allow_files(len(places) * settings.max_connections + 64, log)
        server.readiness.add("tuning", lambda: Check({"eventLoop": loop_choice, "openFiles": files}))
        watch = tls.reload_on_change(places[0].tls, settings.tls_cert_path, settings.tls_key_path, server.lines)
        serving = serve.serve(
            server.app,
            places,
            edge=Edge(Limits(connections=settings.max_connections), server.lines, server.tally),
            grace=settings.shutdown_grace,
            ready=ready,
            ending=ending,
            beside=[watch],
        )
        serve.run(serving, loop)
    finally:
        server.sink.close()


def warnings(settings: Settings) -> list[str]:
    """Return what the operator must not miss, once the certificate is there."""
    dates = tls.certificate_warning(settings.tls_cert_path, tls.utc_now())
    return [*warnings_about(settings), *([dates] if dates else [])]


def check(settings: Settings, environ: Mapping[str, str]) -> None:
    """Validate everything and start nothing; raise `StartupError` with whatever would stop a start."""
    make_hatchery(settings)
    certificate, key = settings.tls_cert_path, settings.tls_key_path
    if tls.pair_is_missing(certificate, key):
        tls.check_that_a_pair_can_be_made(certificate, key)
        say(f"{certificate} and {key} are missing: the first start will make them.")
    else:
        tls.server_context(certificate, key)
        for warning in warnings(settings):
            say(f"WARNING: {warning}")
    files, paths = key_files.files_of(settings), Paths(settings.score_ledger_path)
    rehearse(files, key_files.passphrase_of(settings), paths, tls.utc_now(), say)
    for line in unknown_variables(environ):
        say(f"WARNING: {line}")
    say("All is well: settings, pictures, certificate, keys and ledger can be used.")


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run the command line; return 0, 2 for a mistake that stops the start, or 1 for a port that is taken."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    environ = os.environ if environ is None else environ
    try:
        settings = read_settings(environ, home=HOME, here=Path.cwd())
        if options.check:
            check(settings, environ)
        else:
            run(settings, environ)
    except StartupError as error:
        for line in error.lines:
            say(line)
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def __getattr__(name: str) -> object:
    """Make the application for `uvicorn gen_server:app`, which does the listening itself, and asks more than once."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _application()


@cache
def _application() -> Starlette:
    try:
        # Made once: a second one would find the ledger locked by the first.
        return build(read_settings(os.environ, home=HOME, here=Path.cwd()), os.environ).app
    except StartupError as error:
        for line in error.lines:
            say(line)
        raise SystemExit(error.exit_status) from None
