"""Who listens to an engine: remembers all that is reported, and says stop when told to."""

from __future__ import annotations

from minimon_server.engines.messages import Phase, Progress, Reply


class Heard(list[Progress]):
    """A `Report` that keeps what it hears; watches, and answers STOP at `stop_at`, a phase and its count."""

    def __init__(self, stop_at: tuple[str, int] | None = None) -> None:
        super().__init__()
        self._stop_at = stop_at

    def __call__(self, said: Progress) -> Reply:
        self.append(said)
        return Reply.STOP if (said.phase, said.current) == self._stop_at else Reply.SHOW

    def of(self, phase: Phase) -> list[Progress]:
        """Return what was said of one phase."""
        return [said for said in self if said.phase == phase]
