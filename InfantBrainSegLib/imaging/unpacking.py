"""Packed files in and out, known by their first bytes whatever their names."""

import gzip
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 1 << 22


def pack(path: Path, packed: Path) -> None:
    """Compress a file with gzip; the same bytes each time."""
    with path.open("rb") as source, packed.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as target:
        shutil.copyfileobj(source, target, CHUNK_BYTES)


def unpacked(path: Path) -> Iterator[bytes]:
    """Give a file's content in pieces, unpacked where it is gzip, whatever its name; the checksum of each packed part is compared.

    Raises
    ------
    EOFError
        If the packed stream is cut off.
    zlib.error
        If it is damaged.
    """
    with path.open("rb") as file:
        unread = file.read(CHUNK_BYTES)
        if not unread.startswith(GZIP_MAGIC):
            while unread:
                yield unread
                unread = file.read(CHUNK_BYTES)
            return
        while unread.startswith(GZIP_MAGIC):  # what follows the last part and is no gzip is no content
            inflater = zlib.decompressobj(31)
            while not inflater.eof:
                unread = unread or file.read(CHUNK_BYTES)
                piece = inflater.decompress(unread, CHUNK_BYTES)
                if not unread and not piece and not inflater.eof:
                    raise EOFError("the packed stream is cut off")
                yield piece
                unread = inflater.unconsumed_tail
            unread = inflater.unused_data
            if len(unread) < len(GZIP_MAGIC):
                unread += file.read(CHUNK_BYTES)
