"""What Central says once it is durable: effects of the domain to the channels of those they concern."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from evcharge.central import notices
from evcharge.central.decisions import Decisions
from evcharge.central.engine import Engine, Origin
from evcharge.central.peers import Directory, Peer
from evcharge.central.telemetry import Telemetry
from evcharge.central.translate import outgoing
from evcharge.domain import effects as fx
from evcharge.domain.state import Session
from evcharge.domain.views import SessionView, view_session
from evcharge.domain.waiting_views import WaitingView
from evcharge.domain.words import Role, SessionStatus
from evcharge.ids import NodeId, SessionId
from evcharge.net.clock import Clock


class Outbound:
    """``release`` is the engine's door to the outside."""

    def __init__(
        self,
        directory: Directory,
        telemetry: Telemetry,
        clock: Clock,
        *,
        decisions: Decisions,
        dirty: Callable[[NodeId], None],
        urgent: Callable[[NodeId], None],
        wake: Callable[[int, SessionId], None],
        revoke: Callable[[Peer], None],
    ) -> None:
        self._directory = directory
        self._telemetry = telemetry
        self._clock = clock
        self._decisions = decisions
        self._dirty = dirty
        self._urgent = urgent
        self._wake = wake
        self._revoke = revoke

    def attach(self, engine: Engine) -> None:
        """Close the circle: the engine itself is made with ``release``, and its clock is the channels'."""
        self._engine = engine

    def release(self, origin: Origin, effects: list[fx.Effect]) -> None:
        """Say what became durable, to whom it concerns; each request gets exactly one answer."""
        answered = origin.reply_to is None
        for effect in effects:
            if isinstance(effect, (fx.Granted, fx.Denied, fx.Queued, fx.Booked)):
                if not answered:
                    _answer(origin, effect, self._telemetry)
                answered = True
            elif isinstance(effect, fx.BootAck):
                if not answered:
                    self._done(origin.reply_to, origin.request_id)
                answered = True
            else:
                self._tell(effect)
        if not answered and origin.request_id is not None:
            self._done(origin.reply_to, origin.request_id)

    def tell_progress(self, session: Session) -> None:
        """Newest telemetry for the session's driver. Not at once: the view may show what is not durable yet."""
        driver = self._directory.current(Role.DRIVER, session.driver_id)
        if driver is not None:
            self._engine.ask(lambda state, _: view_session(state, session), partial(self.tell_driver, driver))

    def tell_driver(self, driver: Peer, view: SessionView) -> None:
        """How a session goes, with the newest telemetry."""
        live = self._telemetry.live_of(view.session_id)
        driver.send(outgoing.update(view, live))

    def tell_waiting(self, view: WaitingView) -> None:
        """News about a place in the line, for its driver if it is there."""
        driver = self._directory.current(Role.DRIVER, view.driver_id)
        if driver is not None:
            driver.send(outgoing.waiting_message(view))

    def _tell(self, effect: fx.Effect) -> None:
        match effect:
            case fx.ToEngine():
                if isinstance(effect, fx.SetPoint):
                    self._decisions.note(effect)
                engine = self._directory.current(Role.ENGINE, effect.cp_id)
                # For an older channel it is void: boot sends the desired state anew (SPEC §6.1).
                if engine is not None and engine.fence == effect.fence:
                    engine.send(outgoing.order_of(effect, self._engine.clock_ms(), self._clock.site_ms()))
            case fx.SessionNews():
                if effect.session.status == SessionStatus.EXPIRED:
                    self._decisions.forget(effect.session.session_id)
                driver = self._directory.current(Role.DRIVER, effect.session.driver_id)
                if driver is not None:
                    self.tell_driver(driver, effect.session)
            case fx.WaitingNews():
                self.tell_waiting(effect.waiting)
            case fx.ReservationNews():
                driver = self._directory.current(Role.DRIVER, effect.reservation.driver_id)
                if driver is not None:
                    driver.send(outgoing.reservation_message(effect.reservation))
            case fx.TicketNews():
                self._telemetry.forget(effect.ticket.session_id)
                self._decisions.forget(effect.ticket.session_id)
                driver = self._directory.current(Role.DRIVER, effect.ticket.driver_id)
                if driver is not None:
                    driver.send(outgoing.ticket_message(effect.ticket))
            case fx.Dirty():
                (self._urgent if effect.now else self._dirty)(effect.node_id)
            case fx.NodeNews():
                notices.node_changed(effect)
            case fx.WeatherNews():
                notices.weather_changed(effect)
            case fx.Wake():
                self._wake(effect.at_ms, effect.session_id)
            case fx.CloseChannel():
                peer = self._directory.current(effect.role, effect.entity)
                if peer is not None and peer.username == effect.username:
                    self._revoke(peer)

    def _done(self, peer: Peer, request_id: int | str | None) -> None:
        engine = peer.role is Role.ENGINE
        peer.send(outgoing.done(request_id, self._engine.clock_ms(), self._clock.site_ms(), engine=engine))


def _answer(origin: Origin, effect: fx.Granted | fx.Denied | fx.Queued | fx.Booked, telemetry: Telemetry) -> None:
    peer: Peer = origin.reply_to
    if isinstance(effect, fx.Denied):
        peer.send(outgoing.refusal(effect, origin.request_id))
    elif origin.request_id is not None:
        peer.send(outgoing.answer(effect, origin.request_id, telemetry.live_of))
