"""Patches read ahead of the encoder by a few threads, in order, a bounded number of batches at a time."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from jaxtyping import Int64, UInt8

from prognos.slides.reading import Slide

SPARE = 2
"""Batches that wait for the encoder beyond those that are being read."""


def batches_ahead(
    slide: Slide, coords: Int64[np.ndarray, "patches 2"], side: int, pixels: int, *, batch_size: int, first: int = 0, readers: int = 2
) -> Generator[UInt8[np.ndarray, "_ pixels pixels 3"], None, None]:
    """The patches of a slide, batch by batch from number `first` on, always cut at the same places.

    While a batch is used, `readers` threads read the next ones. No more than `readers` plus `SPARE` batches are held, however
    large the slide.

    Args:
        slide: the open slide.
        coords: upper left corners in level-0 pixels.
        side: side of a patch in level-0 pixels.
        pixels: side of a patch as it is given.
        batch_size: patches a batch; the last batch may have fewer.
        first: number of the first batch.
        readers: threads.

    Raises:
        SlideError: a part of the file is damaged; the batches before it were given.
    """
    starts = iter(range(first * batch_size, len(coords), batch_size))

    def read(start: int) -> UInt8[np.ndarray, "_ pixels pixels 3"]:
        corners = coords[start : start + batch_size]
        batch = np.empty((len(corners), pixels, pixels, 3), dtype=np.uint8)
        for row, (x, y) in enumerate(corners.tolist()):
            batch[row] = slide.region(x, y, side, pixels)
        return batch

    pool = ThreadPoolExecutor(readers, thread_name_prefix="reader")
    waiting: deque[Future[UInt8[np.ndarray, "_ pixels pixels 3"]]] = deque()
    try:
        for start in starts:
            waiting.append(pool.submit(read, start))
            if len(waiting) == readers + SPARE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
