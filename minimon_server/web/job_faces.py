"""The routes of jobs, what they say to `/ready` and `/metrics`, and how large their bodies may be. Answers nothing."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from minimon_server.errors import Text
from minimon_server.jobs.drawing import LARGEST_SEED, Drawing
from minimon_server.jobs.job import State
from minimon_server.jobs.loss import HANGS
from minimon_server.jobs.model_looks import ModelLooks
from minimon_server.jobs.pace import BOUNDS
from minimon_server.jobs.service import Jobs
from minimon_server.web import job_events, job_pictures, jobs, models, replay
from minimon_server.web.edge import BODY_BYTES
from minimon_server.web.gate import Cost, Face
from minimon_server.web.input_schemas import LARGEST_BODY
from minimon_server.web.job_schemas import LARGEST_PICTURE
from minimon_server.web.metrics import Family, Source
from minimon_server.web.readiness import Check, Choice

_ENDS: Final = [*(str(bound) for bound in BOUNDS), "+Inf"]


def faces(service: Jobs, drawing: Drawing) -> list[Face]:
    """Return the faces of jobs and models."""
    looks, loras = ModelLooks(drawing.models), ModelLooks(drawing.loras)
    shown = ModelLooks(drawing.ip_adapters)
    desk = jobs.JobDesk(service, drawing, looks, loras, shown, lambda: secrets.randbelow(LARGEST_SEED + 1))
    again = replay.ReplayDesk(desk, drawing)
    pictures = job_pictures.PictureDesk(service)
    events = job_events.EventDesk(service, secrets.token_hex(4))
    shelf = models.Shelf(looks, loras, shown, drawing)
    return [
        Face("/generate", desk.generate, method="POST", guide=jobs.GENERATE),
        Face("/replay", again.replay, method="POST", guide=replay.REPLAY),
        Face("/status/{job_id}", desk.status, guide=jobs.STATUS),
        Face("/image/{job_id}", pictures.image, guide=job_pictures.IMAGE),
        Face("/download/{filename}", pictures.download, guide=job_pictures.DOWNLOAD),
        Face("/jobs", desk.list, guide=jobs.LIST),
        Face("/jobs/{job_id}", desk.cancel, method="DELETE", cost=Cost.READ, guide=jobs.CANCEL),
        Face("/jobs/{job_id}/events", events.answer, guide=job_events.EVENTS),
        Face("/models", shelf.models, guide=models.MODELS),
        Face("/loras", shelf.loras, guide=models.LORAS),
        Face("/ip-adapters", shelf.ip_adapters, guide=models.IP_ADAPTERS),
    ]


def body_bytes(method: bytes, target: bytes) -> int:
    """Return how large a body the edge lets through."""
    path = target.partition(b"?")[0] if method == b"POST" else b""
    return {b"/generate": LARGEST_BODY, b"/replay": LARGEST_PICTURE}.get(path, BODY_BYTES)


def check(service: Jobs) -> Check:
    """Return what `/ready` says of jobs; a server without an engine still serves creatures."""
    counts, loaded = service.store.counts(), service.worker.loaded
    facts: dict[str, object] = {
        "engine": _state(service),
        "loaded": None if loaded is None else str(loaded),
        "waiting": counts[State.PENDING],
        "running": counts[State.PROGRESS],
    }
    if service.unavailable:
        facts["reason"] = service.unavailable.en
    if trouble := service.store.trouble:
        fr = f"Le registre des tâches ne peut pas être écrit : {trouble}."
        return Check(facts, Text(fr, f"The journal of jobs cannot be written: {trouble}."))
    return Check(facts, service.loss.reason or (HANGS if service.worker.has_lost_its_job else None))


def acceleration(drawing: Drawing) -> Check:
    """Return what `/ready` says of how prompts are drawn faster, or in less memory."""
    return Check({name: Choice(one.value, one.reason) for name, one in drawing.choices().items()})


def _state(service: Jobs) -> str:
    if service.unavailable:
        return "none"
    if service.loss.reason:
        return "lost"
    if service.worker.loaded is not None:
        return "loaded"
    return "memory given back, nobody asked" if service.worker.given_back else "not loaded yet"


def told(service: Jobs, drawing: Drawing, restarts: int = 0) -> Source:
    """Return the source that tells `/metrics` of jobs; `restarts` are those before this start, with nothing drawn."""

    def families() -> Iterator[Family]:
        kept = GaugeMetricFamily("minimon_jobs", "Jobs that are known, by state.", labels=["state"])
        for state, count in service.store.counts().items():
            kept.add_metric([state.value], count)
        yield kept
        buckets = list(zip(_ENDS, accumulate(service.pace.buckets), strict=True))
        seconds = HistogramMetricFamily("minimon_job_duration_seconds", "Seconds from claim to picture, of successes.")
        seconds.add_metric([], buckets, sum_value=service.pace.total)
        yield seconds
        yield from _troubles(service, drawing, restarts)

    return families


def _troubles(service: Jobs, drawing: Drawing, restarts: int) -> Iterator[Family]:
    memory = drawing.memory
    yield CounterMetricFamily("minimon_out_of_memory", "Times that memory ran out.", value=memory.out_of_memory)
    rungs = CounterMetricFamily("minimon_memory_rungs", "What was done about too little memory.", labels=["rung"])
    for rung, count in memory.rungs.items():
        rungs.add_metric([rung], count)
    rungs.add_metric(["refuse"], memory.refused)
    yield rungs
    yield from _residents(drawing)
    yield CounterMetricFamily(
        "minimon_engine_given_back",
        "Times that an idle engine gave its memory back.",
        value=service.worker.given_back,
    )
    yield GaugeMetricFamily(
        "minimon_restarts", "Restarts by itself for a lost engine, with nothing drawn since.", value=restarts
    )


def _residents(drawing: Drawing) -> Iterator[Family]:
    memory = drawing.memory
    held = GaugeMetricFamily(
        "minimon_models_bytes", "Bytes of models and LoRAs in memory, what is shared once.", labels=["tier"]
    )
    budgets = GaugeMetricFamily("minimon_models_budget_bytes", "Bytes that models may take.", labels=["tier"])
    for tier in ("device", "host"):
        held.add_metric([tier], memory.held.get(tier, 0))
        budgets.add_metric([tier], memory.budgets.get(tier, 0))
    yield held
    yield budgets
    moves = CounterMetricFamily("minimon_models_moved", "Models by what became of them.", labels=["how"])
    for how, count in (("loaded", memory.loads), ("copied_back", memory.copies), ("put_out", memory.evictions)):
        moves.add_metric([how], count)
    yield moves
    merged = CounterMetricFamily("minimon_loras_merged", "LoRAs by where their content came from.", labels=["from"])
    for where, count in (("disk", memory.adapters_read), ("memory", memory.adapters_kept)):
        merged.add_metric([where], count)
    yield merged
