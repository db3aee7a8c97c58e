"""What must not happen in a soak."""


class TurnError(Exception):
    """A turn that failed. wrong: other bytes than were sent have arrived; else the connection was the trouble."""

    def __init__(self, text: str, *, wrong: bool = False) -> None:
        super().__init__(text)
        self.wrong = wrong
