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
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

HOME = Path(__file__).resolve().parent
INSTALL = f"Run 'make run' in {HOME}, or: python -m pip install -r {HOME / 'requirements-light.txt'}"
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it

try:
    from minimon_server import __version__, rebirth
    from minimon_server.catalog.kept import problems_of
    from minimon_server.catalog.stock import CATALOGUE
    from minimon_server.creatures.dice import Dice
    from minimon_server.creatures.naming import LocalNames, NameSource
    from minimon_server.engines.compiled_files import place_compiled
    from minimon_server.environment import read_settings, unknown_variables
    from minimon_server.errors import StartupError
    from minimon_server.jobs import journal
    from minimon_server.jobs.creature_drawing import queue_of
    from minimon_server.jobs.drawing import Drawing
    from minimon_server.jobs.equipment import check_drawing, find_drawing
    from minimon_server.jobs.model_looks import look_often
    from minimon_server.jobs.opening import open_jobs
    from minimon_server.jobs.service import Jobs
    from minimon_server.logs import Lines, Logger, LogSink, adopt_standard_library
    from minimon_server.scores import key_files
    from minimon_server.scores.assembly import assemble
    from minimon_server.scores.certify import Randomness, Scores
    from minimon_server.scores.ledger import Paths
    from minimon_server.scores.rehearsal import rehearse
    from minimon_server.settings import Settings
    from minimon_server.terminal import banner, parse, say, warnings_about
    from minimon_server.web import job_faces, ledger, metrics, serve, signed_creatures, tls, tuning
    from minimon_server.web.app import make_app
    from minimon_server.web.creature_parts import CreatureParts, check_creatures, make_creatures
    from minimon_server.web.edge import Edge, Limits
    from minimon_server.web.readiness import Check, Readiness, usual
    from minimon_server.web.tally import Tally
except ModuleNotFoundError as error:
    if (error.name or "").startswith(("minimon_server", "gen_server")):
        raise
    raise SystemExit(f"The Python package {error.name!r} is not installed for {sys.executable}.\n{INSTALL}") from None

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import Lifespan


@dataclass(frozen=True, slots=True)
class Server:
    """The parts of one server, made and not yet listening."""

    settings: Settings
    app: Starlette
    lines: Lines
    names: NameSource
    jobs: Jobs
    drawing: Drawing
    log: Logger
    sink: LogSink
    readiness: Readiness
    tally: Tally


def build(settings: Settings, environ: Mapping[str, str], drawing: Drawing | None = None) -> Server:
    """Make every part that the settings ask for; raise `StartupError` when one cannot be made.

    `drawing` is who draws prompts; without it, whoever can be found here.
    """
    sink = LogSink(os.open(os.devnull, os.O_WRONLY) if sys.stdout is None else sys.stdout.fileno())
    lines = Lines(sink, level=settings.log_level, as_json=settings.log_json, secrets=settings.secrets)
    log = lines.logger()
    adopt_standard_library(log)
    for line in unknown_variables(environ):
        log.warning("unknown setting", problem=line)
    place_compiled(settings.compile_dir, os.environ)
    names = make_names(settings, log)
    drawing = drawing or find_drawing(settings, log)
    interactive = queue_of(settings, log)
    creatures = make_creatures(settings, drawing, interactive, names, log)
    jobs = open_jobs(settings, drawing, log, interactive)
    readiness = Readiness(usual(settings, creatures.hatchery, names))
    if creatures.drawn:
        readiness.add("creatures", creatures.check)
    scores = make_scores(settings, lines)
    readiness.add("jobs", lambda: job_faces.check(jobs))
    readiness.add("models", lambda: Check(drawing.facts()))
    readiness.add("acceleration", lambda: job_faces.acceleration(drawing))
    readiness.add("scores", lambda: Check(scores.facts, scores.trouble))

    tally = Tally()
    told_of_jobs = job_faces.told(jobs, drawing, restarts=len(rebirth.restarts(environ)))
    app = make_app(
        settings,
        creatures.hatchery,
        lines,
        lifespan=life(settings, log, sink, readiness, names, jobs, scores, creatures),
        names=names,
        ready=readiness,
        faces=[*ledger.faces(scores), *signed_creatures.faces(scores.notary), *job_faces.faces(jobs, drawing)],
        sources=[metrics.log(sink), metrics.scores(scores), told_of_jobs, *creatures.sources(tally)],
        tally=tally,
        drawn=creatures.drawn,
        stock=creatures.stock,
        notary=scores.notary,
    )
    return Server(settings, app, lines, names, jobs, drawing, log, sink, readiness, tally)


def life(
    settings: Settings,
    log: Logger,
    sink: LogSink,
    readiness: Readiness,
    names: NameSource,
    jobs: Jobs,
    scores: Scores,
    creatures: CreatureParts,
) -> Lifespan[Starlette]:
    """Return what starts the parts that run, and ends them when the server ends."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        log.info("start", version=__version__, backend=settings.generation_backend, names=settings.name_backend)
        async with AsyncExitStack() as ending:  # last in, first out; what one of them raises keeps none from its end
            ending.push_async_callback(scores.close)
            await scores.start()
            ending.push_async_callback(names.close)
            ending.push_async_callback(jobs.end, settings.shutdown_grace)
            jobs.start()
            await creatures.start(ending)
            ending.callback(readiness.end)
            yield
        log.info("end")
        sink.flush()

    return lifespan


def make_names(settings: Settings, log: Logger) -> NameSource:
    """Return who names creatures; an HTTP client is imported only for remote names."""
    if settings.name_backend == "local":
        return LocalNames()
    try:
        from minimon_server.creatures.remote_names import Model, RemoteNames
    except ModuleNotFoundError as error:
        raise StartupError([f"MINIMON_NAME_BACKEND=remote needs {error.name!r}. {INSTALL}"], exit_status=1) from None
    model = Model(
        settings.openai_base_url,
        settings.openai_model,
        settings.openai_api_key.get_secret_value(),
        settings.openai_timeout,
        settings.name_language,
    )
    return RemoteNames(model, log, log_content=settings.log_remote_content, clock=time.monotonic)


def make_scores(settings: Settings, lines: Lines) -> Scores:
    """Return what certifies scores: its keys loaded or made, its ledger locked and not read yet."""
    dice = Dice()
    randomness = Randomness(id=lambda: dice.throw()[:12].hex(), nonce=lambda: dice.throw()[:16].hex())
    return assemble(settings, lines, randomness, tls.utc_now(), say)


def bindings(settings: Settings) -> list[serve.Binding]:
    """Return where to listen: HTTPS, making its certificate on the first start, and HTTP unless it is off."""
    certificate, key = settings.tls_cert_path, settings.tls_key_path
    if tls.make_pair_if_missing(certificate, key, tls.names_of_this_machine(settings), tls.utc_now()):
        say(f"Made a self-signed certificate: {certificate} and {key}.")
    found = [serve.Binding(settings.host, settings.port, "MINIMON_PORT", tls.server_context(certificate, key))]
    if settings.http_port:
        found.append(serve.Binding(settings.host, settings.http_port, "MINIMON_HTTP_PORT", None))
    return found


def run(settings: Settings, environ: Mapping[str, str], drawing: Drawing | None = None) -> None:
    """Serve until a signal ends it, and begin again if the engine is lost; `drawing` is who draws, if it is given."""
    server = build(settings, environ, drawing)
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
            server.jobs.stop()

        loop, loop_choice = tuning.event_loop(log)
        files = tuning.allow_files(len(places) * settings.max_connections + 64, log)
        server.readiness.add("tuning", lambda: Check({"eventLoop": loop_choice, "openFiles": files}))
        limits = Limits(connections=settings.max_connections, body_bytes=job_faces.body_bytes)
        watch = tls.reload_on_change(places[0].tls, settings.tls_cert_path, settings.tls_key_path, server.lines)
        serving = serve.serve(
            server.app,
            places,
            edge=Edge(limits, server.lines, server.tally),
            grace=settings.shutdown_grace,
            ready=ready,
            ending=ending,
            hurry=server.jobs.hurry,
            over=server.jobs.loss.wait,
            beside=[watch, look_often(server.drawing.models, log)],
        )
        asked = tuning.run(serving, loop)
    finally:
        server.sink.close()
    if server.jobs.loss.reason and not asked:
        drew, patience = server.jobs.pace.mean() is not None, max(settings.load_timeout, settings.step_timeout)
        rebirth.begin_again(environ, drew=drew, patience=patience, now=time.monotonic())


def warnings(settings: Settings) -> list[str]:
    """Return what the operator must not miss, once the certificate is there."""
    dates = tls.certificate_warning(settings.tls_cert_path, tls.utc_now())
    return [*warnings_about(settings), *([dates] if dates else [])]


def check(settings: Settings, environ: Mapping[str, str]) -> None:
    """Validate everything and start nothing; raise `StartupError` with whatever would stop a start."""
    check_creatures(settings, say)
    journal.check(settings.jobs_path)
    check_drawing(settings)
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
    for line in [*unknown_variables(environ), *problems_of(settings.models_dir / CATALOGUE)]:
        say(f"WARNING: {line}")
    say("All is well: settings, pictures, certificate, keys and ledger can be used.")


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run the command line; return 0, 2 for a mistake that stops the start, 1 for a port that is taken, or 3 for an
    engine that is lost again and again.
    """
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
