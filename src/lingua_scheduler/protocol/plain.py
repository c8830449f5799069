"""What messages may hold where the protocol leaves the shape open: only what every encoding and every hop can carry on.

JSON knows numbers of any size and nests as deep as it likes; MessagePack has 64 bits, and encoders have a stack.
"""

from typing import Annotated, Any, TypeVar, cast

import msgspec

T = TypeVar("T")
INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1
DEPTH_MAX = 32

Int = Annotated[int, msgspec.Meta(ge=INT_MIN, le=INT_MAX)]
"""An integer in a message: 64 bits with a sign."""


def unpack(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    """What a MessagePack decoder makes of bytes, whoever wrote them. DecodeError, and nothing else, where it cannot."""
    try:
        return decoder.decode(body)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(type(error).__name__) from None


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
