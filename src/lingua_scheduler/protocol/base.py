"""What every struct on the wire derives from."""

import msgspec


class Wire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of all messages: immutable, absent fields omitted, tagged by `type`."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what stands inside messages: as `Wire`, without a tag."""
