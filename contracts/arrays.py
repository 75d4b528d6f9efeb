"""Arrays as they travel in events: dtype, shape and little-endian bytes."""

import math
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.errors import CodecError

__all__ = ["Array"]

# The types events need. Everything on the wire is little-endian, whatever machine wrote it.
DType = Literal["u1", "<f4"]
_MAX_DIMENSIONS = 4


class Array(msgspec.Struct, frozen=True):
    """An n-dimensional array in row-major order.

    Attributes:
        dtype: 'u1' (uint8) or '<f4' (float32), as in numpy.
        shape: up to four sizes.
        data: the elements, row-major, little-endian.

    >>> Array.of(np.array([[0, 1], [2, 1]], dtype=np.uint8)).numpy().sum()
    np.uint64(4)
    """

    dtype: DType
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> "Array":
        """Wrap a numpy array of dtype uint8 or float32.

        Raises:
            CodecError: another dtype; convert first, so that no precision is lost unnoticed.
        """
        if values.dtype == np.uint8:
            return cls("u1", values.shape, np.ascontiguousarray(values).tobytes())
        if values.dtype == np.float32:
            little = np.ascontiguousarray(values).astype("<f4", copy=False)
            return cls("<f4", values.shape, little.tobytes())
        raise CodecError(f"arrays in events are uint8 or float32, this one is {values.dtype}")

    def numpy(self) -> npt.NDArray[Any]:
        """The array, read-only, without a copy.

        Raises:
            CodecError: the number of bytes is not what dtype and shape need.
        """
        if len(self.shape) > _MAX_DIMENSIONS or any(size < 0 for size in self.shape):
            raise CodecError(f"shape {self.shape} is not that of an array of ours")
        needed = math.prod(self.shape) * (1 if self.dtype == "u1" else 4)
        if needed != len(self.data):
            raise CodecError(
                f"an array {self.shape} of {self.dtype} needs {needed} bytes, got {len(self.data)}"
            )
        return np.frombuffer(self.data, dtype=self.dtype).reshape(self.shape)
