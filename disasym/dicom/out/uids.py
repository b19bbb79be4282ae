"""Unique identifiers that say the same for the same: a second run makes the objects of the first one again."""

import uuid


def uid_of(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) from a UUID of version 5, which is a hash of `parts`."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(('disasym', *parts))).int}"
