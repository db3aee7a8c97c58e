"""How far ahead of its head the writer of a log may use offsets. Pure."""

LARGEST = 1 << 26


class Lease:
    """The length of the next lease, in bytes.

    Longer ones while much is written; short ones else: what is left of a lease after a crash is a hole.
    """

    def __init__(self, span: int, segment: int) -> None:
        """span: bytes that the log keeps."""
        self._least = max(segment, min(LARGEST, span // 32))
        self._most = max(segment, min(LARGEST, span // 8))
        self.length = max(self._least, self._most // 2)

    def short(self, left: int) -> bool:
        """Whether a new one is wanted soon, `left` bytes before the end of the last."""
        return left < self.length // 2

    def adapt(self, left: int) -> bool:
        """Whether a new one is to be taken now; its length is then set."""
        if left >= self.length * 3 // 4:
            return False
        if left < self.length // 4:
            self.length = min(2 * self.length, self._most)
        elif left > self.length // 2:
            self.length = max(self.length // 2, self._least)
        return True
