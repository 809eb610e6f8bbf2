"""What the page's badge says of the log: what the sidecar itself found, else Central's own word, and which it is."""

from __future__ import annotations

from typing import Literal

import msgspec

from evcharge.sidecar.live.chain import Verdict
from protocol import messages as m


class Badge(msgspec.Struct, frozen=True, kw_only=True):
    """The event ``chain``."""

    ok: bool | None
    """None: nobody but Central has compared anything yet."""
    by: Literal["sidecar", "central"]
    """Whose word this is."""
    seq: int
    """Records up to this one are those that were signed."""
    newest_seq: int
    signed_seq: int
    """Central's newest checkpoint covers the records up to this one."""
    sentence: str


def badge_of(verdict: Verdict | None, state: m.AuditStateView | None, newest_seq: int) -> Badge | None:
    """``verdict``: the sidecar's own; ``state``: Central's word. None: neither is known."""
    signed = 0 if state is None or state.checkpoint is None else state.checkpoint.size
    newest = max(newest_seq, 0 if state is None else state.newest_seq)
    if verdict is not None and (verdict.ok is not None or state is None):
        return Badge(
            ok=verdict.ok,
            by="sidecar",
            seq=verdict.seq,
            newest_seq=newest,
            signed_seq=signed,
            sentence=verdict.sentence,
        )
    if state is None:
        return None
    if state.suspect:
        sentence = "Central itself holds its log for damaged or rolled back; run 'evcharge-audit verify' on it."
    else:
        checked = f"Central says that it checked records {state.verified_from} to {state.verified_to} when it started"
        sentence = f"{checked}; nothing was compared here. {'' if verdict is None else verdict.sentence}".rstrip()
    return Badge(
        ok=False if state.suspect else None,
        by="central",
        seq=state.verified_to,
        newest_seq=newest,
        signed_seq=signed,
        sentence=sentence,
    )
