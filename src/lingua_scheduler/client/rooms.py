"""What a session asks of rooms. Answers come as events, in the scheduler's own words.

    session.create_room(preferred_lang="en")       # → RoomCreateAck, then RoomMembers whenever they change
    session.join_room("123456", preferred_lang="pt")

What others say comes as `TranslationResult` with the speaker's `session_id`; one's own speech goes to the others.
"""

from lingua_scheduler.protocol import messages as wire

Request = (
    wire.RoomCreate
    | wire.RoomJoin
    | wire.RoomLeave
    | wire.RoomUpdate
    | wire.RoomRawVoicePreference
    | wire.WebrtcOffer
    | wire.WebrtcAnswer
    | wire.WebrtcIce
)
Signal = wire.WebrtcOffer | wire.WebrtcAnswer | wire.WebrtcIce


class RoomCalls:
    """Part of `Session`. Whatever is asked while the connection is away is asked when it is back."""

    def _ask(self, request: Request) -> None:
        raise NotImplementedError

    def create_room(self, *, display_name: str | None = None, preferred_lang: str | None = None) -> None:
        """Without a language a member hears nothing."""
        self._ask(wire.RoomCreate(client_ts=0, display_name=display_name, preferred_lang=preferred_lang))

    def join_room(self, code: str, *, display_name: str | None = None, preferred_lang: str | None = None) -> None:
        self._ask(wire.RoomJoin(room_code=code, display_name=display_name, preferred_lang=preferred_lang))

    def leave_room(self, code: str) -> None:
        self._ask(wire.RoomLeave(room_code=code))

    def update_room(
        self, code: str, *, display_name: str | None = None, preferred_lang: str | None = None,
        src_lang: str | None = None,
    ) -> None:  # fmt: skip
        """Change what was said when joining; None leaves it as it is, an empty language takes it back."""
        update = wire.RoomUpdate(
            room_code=code, display_name=display_name, preferred_lang=preferred_lang, src_lang=src_lang
        )
        self._ask(update)

    def accept_voice(self, code: str, session_id: str, *, accepts: bool) -> None:
        """Whether signalling for the untranslated voice of a member is to arrive here."""
        self._ask(wire.RoomRawVoicePreference(room_code=code, target_session_id=session_id, receive_raw_voice=accepts))

    def signal(self, signal: Signal) -> None:
        """To the member that `to` names; it arrives with `to` naming the sender."""
        self._ask(signal)
