"""The audit log over HTTP: pages of records, the state of the chain, and proofs that an outsider can check."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from evcharge.sidecar.gateway import audit_schemas as s
from evcharge.sidecar.gateway import problems
from evcharge.sidecar.gateway.central import Central
from evcharge.sidecar.web.route import Answer, Call, Handler
from protocol import messages as m
from protocol.fields import MAX_COUNT

# Pieces of one proof: a record has 1 MiB at most (FORMAT.md §2), a piece about 30 KiB.
PIECES = 64


class AuditLog:
    """Handlers of the routes in ``routes/audit.py``."""

    def __init__(self, central: Central) -> None:
        self._central = central

    def handlers(self) -> Mapping[str, Handler]:
        """By the names of their routes."""
        return {"list_audit": self.page, "audit_state": self.state, "audit_proof": self.proof}

    async def page(self, call: Call) -> Answer:
        """Records in the order that was asked for."""
        told = (await self._central.ask(m.AuditPage(id=0, **msgspec.structs.asdict(call.query)))).audit
        if told is None:
            raise problems.unexpected()
        try:
            records = [_record(row) for row in told.rows]
        except msgspec.DecodeError:
            raise problems.unexpected() from None
        body = s.AuditRecords(
            records=records, next_seq=told.next_seq, first_seq=told.first_seq, newest_seq=told.newest_seq
        )
        return Answer(body=body)

    async def state(self, _call: Call) -> Answer:
        """How far it is durable, signed and checked."""
        told = (await self._central.ask(m.AuditState(id=0))).audit_state
        if told is None:
            raise problems.unexpected()
        return Answer(body=msgspec.convert(told, s.AuditState, from_attributes=True))

    async def proof(self, call: Call) -> Answer:
        """One record with its way to the signed root; a long record comes from Central in pieces."""
        seq = int(call.path["seq"])
        if seq > MAX_COUNT:
            raise problems.no_such("record")
        body, start = "", 0
        for _ in range(PIECES):
            told = (await self._central.ask(m.AuditProof(id=0, seq=seq, body_from=start))).proof
            if told is None:
                raise problems.unexpected()
            body += told.body
            if told.next_from is None:
                # The pieces belong together: a record never changes, and any of its checkpoints proves it.
                proof = s.AuditProof(
                    type=told.type,
                    seq=told.seq,
                    durable=told.durable,
                    body=body,
                    proof=told.proof,
                    checkpoint=told.checkpoint,
                )
                return Answer(body=proof)
            start = told.next_from
        raise problems.unexpected()


def _record(row: m.RecordView) -> s.AuditRecord:
    return s.AuditRecord(
        seq=row.seq,
        kind=row.kind,
        version=row.version,
        at_ms=row.at_ms,
        clock_ms=row.clock_ms,
        actor=row.actor,
        source=row.source,
        by=row.by,
        trace=row.trace,
        details=None if row.details is None else msgspec.json.decode(row.details),
        leaf_hash=row.leaf_hash,
    )
