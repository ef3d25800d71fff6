"""The part about the stock: how soon a drawn creature that was kept ready is there, beside the static backend's."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack, closing

from bench import stock_contenders, stock_race
from bench.client import GENERATE
from bench.contenders import Contender
from bench.cores import pinned
from bench.errors import ToolMissingError
from bench.job_contenders import LOAD_SECONDS
from bench.jobs import NEEDED
from bench.plan import Stage
from bench.processes import running
from bench.report import Figure, Part, Row, Target
from bench.stock_client import TimedLine, check_creature
from bench.stock_contenders import OURS, STATIC, Drawer, shelf
from bench.stock_race import Seen, Side

COLUMNS = (OURS, STATIC)
PICTURES = 6  # of ours that the static backend gives out
OVER_STATIC = Target(1.5, at_most=True)
REFILLING_MS = Target(10, at_most=True)


def measure(stage: Stage) -> Part:
    """Fill a stock, race its hits against the static backend, and prove that all of them were hits."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        why = ToolMissingError(f"{', '.join(missing)} missing; install with: pip install -r requirements.txt")
        return Part(skipped=(f"stock: {why}",), contenders=COLUMNS)
    drawing = stock_contenders.drawer(stage)
    seen = race(stage, stock_contenders.ours(stage, drawing))
    return Part(rows(seen), _notes(stage, drawing, seen), contenders=COLUMNS)


def race(stage: Stage, contender: Contender) -> Seen:
    """Race this server, which keeps a stock, against the static backend; fail where an answer was no hit."""
    with ExitStack() as stack, pinned(stage.cores.load):
        ours = _enter(stage, stack, contender)
        stock_race.until_full(ours.look, ours.look.counted("minimon_stock_wanted"))
        pictures = [check_creature(OURS, ours.line.get(GENERATE)[1]) for _ in range(PICTURES)]
        static = _enter(stage, stack, stock_contenders.static(stage, pictures))
        check_creature(STATIC, static.line.get(GENERATE)[1])
        seen = stock_race.run(stage, ours, static)
        stock_race.check_hits(ours.look, seen.asked + PICTURES)
    return seen


def _enter(stage: Stage, stack: ExitStack, contender: Contender) -> Side:
    server = stack.enter_context(
        running(contender.program, contender.ready, stage.cores.server, limit_seconds=LOAD_SECONDS)
    )
    line, look = (
        stack.enter_context(closing(TimedLine(contender.program.port, stage.context))) for _ in ("timed", "looking")
    )
    line.check_tls()
    return Side(server.pid, line, look)


def rows(seen: Seen) -> tuple[Row, ...]:
    """Return what was seen; nothing is judged where other programs disturbed it."""
    doubtful = frozenset(COLUMNS) if seen.disturbed else frozenset[str]()
    ratios = Figure.of((one.p99 / other.p99 for one, other in zip(seen.full, seen.static, strict=True)), 2)
    sizes: dict[str, Figure | str] = {
        name: Figure.of(pair[index] for pair in seen.sizes) for index, name in enumerate(COLUMNS)
    }

    def hits(pick: str) -> dict[str, Figure | str]:
        return {
            OURS: Figure.of((getattr(one, pick) for one in seen.full), 2),
            STATIC: Figure.of((getattr(one, pick) for one in seen.static), 2),
        }

    return (
        Row("a stock hit, p50, ms", hits("p50"), compared=True),
        Row("a stock hit, p99, ms", hits("p99"), compared=True),
        Row("a stock hit, p99 over the static backend's", {OURS: ratios}, doubtful=doubtful, target=OVER_STATIC),
        Row("a hit while the stock is refilled, p50, ms", {OURS: Figure.of((one.p50 for one in seen.refilling), 2)}),
        Row(
            "a hit while the stock is refilled, p99, ms",
            {OURS: Figure.of((one.p99 for one in seen.refilling), 2)},
            doubtful=doubtful,
            target=REFILLING_MS,
        ),
        Row("creatures drawn meanwhile, a round", {OURS: Figure.of(seen.refilled)}),
        Row("bytes of an answer's body", sizes),
        Row("other programs meanwhile, % of a core", {OURS: Figure.of((100 * one for one in seen.foreign), 0)}),
    )


def _notes(stage: Stage, drawing: Drawer, seen: Seen) -> tuple[str, ...]:
    plan, side = stage.plan, drawing.side
    shared = ("Only one core was there: the servers and the client shared it.",) if stage.cores.shared else ()
    disturbed = ("It was disturbed by other programs: repeat it on a quiet machine.",) if seen.disturbed else ()
    return (
        f"stock: creatures of {side}x{side} pixels, drawn by {drawing.told}; MINIMON_STOCK={shelf(plan.stock_hits)}, "
        "all of one rarity. Both servers, and what draws, on one core with one thread of torch; the client, a bare "
        f"socket, on the other. One kept connection to each over TLS 1.3; {plan.stock_rounds} rounds of "
        f"{plan.stock_hits} hits of each kind; a ratio is that of two p99 of one round.",
        f'"{STATIC}": the same server with {PICTURES} of the same pictures as files. With a full stock, both are asked '
        "in turns, and each time the stock is full again before: the engine rests when a hit begins, and draws when it "
        "ends.",
        f"Refilled: asked every {1000 * stock_race.PAUSE_SECONDS:.0f} ms, faster than is drawn, so that the engine "
        "never rests; it draws on the core that answers, which a machine of more cores need not do.",
        f"{seen.asked + PICTURES:,} creatures asked for: as many out of the stock by /metrics, none drawn on demand.",
        *shared,
        *disturbed,
    )
