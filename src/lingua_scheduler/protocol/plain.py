"""What messages may hold where the protocol leaves the shape open: only what every encoding and every hop can carry on.

JSON knows numbers of any size and nests as deep as it likes; MessagePack has 64 bits, and encoders have a stack.
"""

from typing import Annotated, Any, cast

import msgspec

INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1
DEPTH_MAX = 32

Int = Annotated[int, msgspec.Meta(ge=INT_MIN, le=INT_MAX)]
"""An integer in a message: 64 bits with a sign."""


def is_plain(value: Any) -> bool:
    """Whether a decoded JSON value nests at most `DEPTH_MAX` deep and all its integers have 64 bits."""
    level = [value]
    for _ in range(DEPTH_MAX):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += cast("dict[str, Any]", one).values()
            elif isinstance(one, list):
                below += cast("list[Any]", one)
            elif isinstance(one, int) and not INT_MIN <= one <= INT_MAX:
                return False
        if not below:
            return True
        level = below
    return False
