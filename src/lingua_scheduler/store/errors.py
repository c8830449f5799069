"""The one way in which the store fails."""


class StoreError(Exception):
    """Redis could not answer. Every call of the store is safe to repeat, so the usual cure is to ask again.

    `may_have_happened` is False where the command surely had no effect (it was never sent, or Redis refused it) and
    True where nobody knows: no reply within the deadline, or the connection broke after the command had left.
    """

    def __init__(self, message: str, *, may_have_happened: bool) -> None:
        super().__init__(message)
        self.may_have_happened = may_have_happened
