"""Fixtures of the network tests: the published architectures, and models whose every tensor is random."""

import copy
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import cv2
import numpy.typing as npt
import pytest
import torch
from torch import nn

from litepose_ofa.supernet.archs import published
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet

Model = TypeVar("Model", bound=nn.Module)
Randomise = Callable[[Model, int], Model]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small lose time to a second thread, and very much of it on a machine that is busy otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def published_archs() -> dict[str, Arch]:
    return published.published_archs()


@pytest.fixture(scope="session")
def randomise() -> Randomise[Any]:
    return _randomise


@pytest.fixture(scope="session")
def tiny() -> SearchSpace:
    return SearchSpace.preset("tiny")


@pytest.fixture(scope="session")
def _tiny_supernet(tiny: SearchSpace) -> LitePoseSupernet:
    return _randomise(LitePoseSupernet(tiny), 0).eval()


@pytest.fixture
def tiny_supernet(_tiny_supernet: LitePoseSupernet) -> LitePoseSupernet:
    """A supernet in eval mode, statistics and kernel matrices random too; a copy that the test may change."""
    return copy.deepcopy(_tiny_supernet)


def _randomise(model: Model, seed: int) -> Model:
    """Fill every weight, statistic and kernel matrix from a seed, at scales that keep the outputs finite."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        if tensor.ndim == 4:
            value = noise * math.sqrt(2 / math.prod(tensor.shape[1:]))
        elif tensor.ndim == 2:
            value = torch.eye(len(tensor)) + 0.2 * noise
        elif name.endswith("running_var"):
            value = 0.5 + noise**2
        elif name.endswith("weight"):
            value = 1 + 0.1 * noise
        else:
            value = 0.1 * noise
        tensor.copy_(value)
    return model


@pytest.fixture(scope="session")
def image_bytes() -> Callable[..., bytes]:
    return _image_bytes


@pytest.fixture(scope="session")
def tiff_bytes() -> Callable[..., bytes]:
    return _tiff_bytes


def _image_bytes(suffix: str, pixels: npt.NDArray[Any], orientation: int) -> bytes:
    """Encode an image, lossless but as JPEG; colours in OpenCV's order; with an EXIF orientation."""
    if suffix == ".tif":
        return _tiff_bytes(pixels[..., ::-1], {274: orientation})
    options = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 100], ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101]}
    encoded = cv2.imencode(suffix, pixels, options.get(suffix, []))[1].tobytes()
    exif = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0)
    if suffix == ".jpg":
        segment = b"Exif\0\0" + exif
        return encoded[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + encoded[2:]
    if suffix == ".png":
        chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
        return encoded[:-12] + chunk + encoded[-12:]
    sides = b"".join(struct.pack("<I", side - 1)[:3] for side in pixels.shape[1::-1])
    extended = b"VP8X" + struct.pack("<II", 10, 0x08) + sides
    body = b"WEBP" + extended + encoded[12:] + b"EXIF" + struct.pack("<I", len(exif)) + exif
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff_bytes(pixels: npt.NDArray[Any], tags: dict[int, int]) -> bytes:
    """Write one uncompressed strip as a big-endian TIFF; ``tags`` are of 16 bits, and go before what pixels say."""
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    content = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    own = {256: pixels.shape[1], 257: pixels.shape[0], 258: 8 * pixels.itemsize, 259: 1, 262: 2 if samples > 2 else 1}
    entries = {**own, 277: samples, 278: pixels.shape[0], **tags}
    longs = {273: 0, 279: len(content)}
    table = 8 + 2 + 12 * (len(entries) + len(longs)) + 4
    longs[273] = table + 2 * samples
    written = b""
    for tag in sorted({**entries, **longs}):
        if tag in longs:
            written += struct.pack(">HHII", tag, 4, 1, longs[tag])
        elif tag == 258 and samples > 2:
            written += struct.pack(">HHII", tag, 3, samples, table)
        elif tag == 258 and samples == 2:
            written += struct.pack(">HHIHH", tag, 3, 2, entries[tag], entries[tag])
        else:
            written += struct.pack(">HHIHH", tag, 3, 1, entries[tag], 0)
    bits = struct.pack(f">{samples}H", *[entries[258]] * samples)
    return b"MM\0*" + struct.pack(">IH", 8, len({**entries, **longs})) + written + bytes(4) + bits + content
