"""Which partition a key belongs to: as Kafka's default partitioner decides it.

Both logs agree, so that a log may be copied from one to the other and keep its order per key.
"""

from functools import lru_cache

__all__ = ["murmur2", "partition_of"]

# Constants of murmur2 as Kafka's clients use it (org.apache.kafka.common.utils.Utils.murmur2).
_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_SHIFT = 24
_32_BITS = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The 32-bit murmur2 hash of `data`, unsigned, with Kafka's seed.

    >>> murmur2(b"foobar") == -790332482 % 2**32
    True
    """
    length = len(data)
    whole = length & ~3
    state = _SEED ^ length
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little")
        word = word * _MULTIPLIER & _32_BITS
        word = (word ^ word >> _SHIFT) * _MULTIPLIER & _32_BITS
        state = (state * _MULTIPLIER & _32_BITS) ^ word
    if whole < length:
        state ^= int.from_bytes(data[whole:], "little")
        state = state * _MULTIPLIER & _32_BITS
    state = (state ^ state >> 13) * _MULTIPLIER & _32_BITS
    return state ^ state >> 15


# A fab has some thousand lots and modules at a time; beyond that the hash is simply done again.
@lru_cache(maxsize=65536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` in a topic of `partitions` partitions."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
