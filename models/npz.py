"""Reading .npz files from outside: no pickled objects, no surprises in size."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import DatasetError

__all__ = ["read_npz"]

# All 811,457 maps of WM-811K have 1.9 GB; more than twice that is no data set we know, and a small
# archive may claim any size for what it unpacks to.
_MAX_UNPACKED_BYTES = 4 * 1024**3


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an .npz file by name.

    Raises:
        DatasetError: the file is missing, empty, damaged, larger than 4 GiB unpacked, not an .npz
            file, or holds pickled objects.
    """
    try:
        if path.stat().st_size == 0:
            raise DatasetError(f"{path} is empty; download it again")
        if not zipfile.is_zipfile(path):
            raise DatasetError(f"{path} is not an .npz file; convert it, or name another file")
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _MAX_UNPACKED_BYTES:
            raise DatasetError(f"{path} unpacks to {unpacked} bytes; at most 4 GiB can be read")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(
            f"{path} is damaged or holds pickled objects, which are never loaded: {error};"
            " download it again, or save it with plain arrays only"
        ) from error
