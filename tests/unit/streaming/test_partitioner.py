import pytest

from streaming.partitioner import murmur2, partition_of

# Values of org.apache.kafka.common.utils.UtilsTest.testMurmur2, signed as Java prints them.
KAFKA_VALUES = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "expected"), KAFKA_VALUES.items())
def test_murmur2_is_kafkas(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected % 2**32


def test_partitions_are_those_of_kafkas_client() -> None:
    kafka = pytest.importorskip("kafka.partitioner")
    keys = [f"lot-{i}".encode() for i in range(500)] + [b"", b"\xff" * 9]
    for key in keys:
        for partitions in (1, 3, 4, 12):
            assert partition_of(key, partitions) == (kafka.murmur2(key) & 0x7FFFFFFF) % partitions
