"""The newest decision about each session, for drivers who ask why. Not hashed, not replayed: the log has them all.

After a restart there is none until the next set-point, which is at most half a lease away; the log's own are told by
``evcharge-audit why``.
"""

from __future__ import annotations

from evcharge.domain.effects import SetPoint


class Decisions:
    """One set-point with its basis per session; ``forget`` is called when a session ends."""

    def __init__(self) -> None:
        self._newest: dict[str, SetPoint] = {}

    def note(self, decided: SetPoint) -> None:
        """A set-point was decided and is durable; one that is only said once more changes nothing."""
        if decided.decided_ms is not None:
            self._newest[decided.session_id] = decided

    def of(self, session_id: str) -> SetPoint | None:
        """The newest, if one was decided since the start."""
        return self._newest.get(session_id)

    def forget(self, session_id: str) -> None:
        """The session ended."""
        self._newest.pop(session_id, None)
