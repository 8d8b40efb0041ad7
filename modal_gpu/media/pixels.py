"""Conversion of decoded frames: upright RGB, and crops in limited-range 4:2:0."""

import threading
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from modal_gpu.media.geometry import Orientation
from modal_gpu.media.pyav import guarded

# From the ISO/IEC 23091-2 matrix coefficients in frames to swscale's names.
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
_ITU709, _ITU601 = 1, 6
#: Formats of frames that a GPU has decoded, and the planar ones with the same samples.
PLANAR_OF_GPU = {"nv12": "yuv420p", "p010le": "yuv420p10le"}

# Full-range to limited-range 8-bit samples (ITU-T H.273, section 8.3).
_SAMPLES = np.arange(256)
_LIMITED_LUMA = np.round(16 + _SAMPLES * 219 / 255).astype(np.uint8)
_LIMITED_CHROMA = np.round(128 + (_SAMPLES - 128) * 224 / 255).astype(np.uint8)


def matrix_coefficients(frame: VideoFrame) -> int:
    """Return the frame's YCbCr matrix coefficients, guessed from its size (as players do) if untagged."""
    if frame.colorspace in _MATRICES:
        return frame.colorspace
    return _ITU709 if frame.width >= 1280 or frame.height > 576 else _ITU601


def upright_rgb(frame: VideoFrame, size: tuple[int, int], orientation: Orientation) -> np.ndarray:
    """Return RGB uint8 (H, W, 3), scaled to the stored ``size`` with square pixels, then turned upright."""
    width, height = size
    rgb = _converted(
        _planar(frame),
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=_MATRICES[matrix_coefficients(frame)],
        interpolation=Interpolation.BICUBIC,
    )
    return np.ascontiguousarray(orientation.apply(rgb.to_ndarray()))


def yuv420_crop(
    frame: VideoFrame, size: tuple[int, int], orientation: Orientation, rectangle: tuple[int, int, int, int]
) -> np.ndarray:
    """Return the stored ``rectangle`` of a frame, upright: uint8 (h·3/2, w), planes Y, U, V, limited range.

    ``rectangle`` has even sides and lies in the frame scaled to ``size``. An 8-bit 4:2:0 frame of
    that size is only sliced; swscale converts any other frame first.
    """
    full_range = False
    frame = _planar(frame)
    if frame.format.name in ("yuv420p", "yuvj420p") and (frame.width, frame.height) == size:
        full_range = frame.format.name == "yuvj420p" or frame.color_range == ColorRange.JPEG
    else:
        matrix = _MATRICES[matrix_coefficients(frame)]
        frame = _converted(
            frame,
            width=size[0],
            height=size[1],
            format="yuv420p",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC,
        )
    left, top, right, bottom = rectangle
    luma = plane_view(frame, 0)[top:bottom, left:right]
    # Halved regardless of parity: in a rotated picture of odd size chroma is off by half a sample.
    rows, columns = (bottom - top) // 2, (right - left) // 2
    chroma = [
        plane_view(frame, plane)[top // 2 : top // 2 + rows, left // 2 : left // 2 + columns]
        for plane in (1, 2)
    ]
    planes = [orientation.apply(plane) for plane in (luma, *chroma)]
    height, width = planes[0].shape
    packed = np.concatenate([plane.ravel() for plane in planes])
    if full_range:
        packed = np.concatenate(
            [_LIMITED_LUMA[packed[: height * width]], _LIMITED_CHROMA[packed[height * width :]]]
        )
    return packed.reshape(height * 3 // 2, width)


def small_luma(
    frame: VideoFrame,
    square_size: tuple[int, int],
    orientation: Orientation,
    rectangle: tuple[int, int, int, int],
    size: tuple[int, int],
) -> np.ndarray:
    """Return the stored ``rectangle`` of a frame scaled to ``size`` (height, width), upright: uint8 luma.

    Much cheaper than :func:`yuv420_crop`, but only comparable within one video: sample ranges are not
    converted.
    """
    luma, shift = _luma_plane(frame)
    across, down = frame.width / square_size[0], frame.height / square_size[1]
    left, top, right, bottom = rectangle
    rows = slice(round(top * down), max(round(top * down) + 1, round(bottom * down)))
    columns = slice(round(left * across), max(round(left * across) + 1, round(right * across)))
    height, width = size[::-1] if orientation.transposed else size
    piece = luma[rows, columns]
    while piece.shape[0] >= 2 * height and piece.shape[1] >= 2 * width:
        # Halving followed by one linear resize costs a tenth of an exact area average.
        half = piece.shape[0] // 2, piece.shape[1] // 2
        piece = cv2.resize(piece[: 2 * half[0], : 2 * half[1]], half[::-1], interpolation=cv2.INTER_AREA)
    piece = cv2.resize(piece, (width, height), interpolation=cv2.INTER_LINEAR)
    if shift:
        piece = np.right_shift(piece, shift).astype(np.uint8)
    return np.ascontiguousarray(orientation.apply(piece))


def _luma_plane(frame: VideoFrame) -> tuple[np.ndarray, int]:
    """Return luma (rows, columns) and its number of bits beyond eight."""
    name = frame.format.name
    if name == "nv12":
        return plane_view(frame, 0), 0
    frame = _planar(frame)
    name = frame.format.name
    planar = name.startswith(("yuv4", "yuvj4"))
    if planar and frame.format.components[0].bits == 8:
        return plane_view(frame, 0), 0
    if planar and name.endswith("le"):
        return _plane(frame, 0, np.uint16), frame.format.components[0].bits - 8
    return plane_view(_converted(frame, format="gray"), 0), 0


def _planar(frame: VideoFrame) -> VideoFrame:
    """Return a frame of a GPU as software has it, with the same samples; other frames as they are."""
    wanted = PLANAR_OF_GPU.get(frame.format.name)
    return frame if wanted is None else _converted(frame, format=wanted)


def _converted(frame: VideoFrame, **options: Any) -> VideoFrame:
    """Return a frame as its ``reformat(**options)`` does.

    Raises :class:`BadVideoError` if it cannot be converted.
    """
    with guarded(f"a frame of {frame.width}×{frame.height} pixels ({frame.format.name}) cannot be converted"):
        # Threads of swscale's own would take longer to start than a strip to convert.
        return _reformatter().reformat(frame, **options, threads=1)


_of_thread = threading.local()


def _reformatter() -> VideoReformatter:
    """Return this thread's converter: it keeps swscale's tables, which take longer to make than to use."""
    if not hasattr(_of_thread, "reformatter"):
        _of_thread.reformatter = VideoReformatter()
    reformatter: VideoReformatter = _of_thread.reformatter
    return reformatter


def limited_luma(rgb: np.ndarray, matrix: int) -> np.ndarray:
    """Return luma (h, w) uint8, 16 to 235, of RGB uint8 (h, w, 3), with the video's matrix coefficients."""
    red, blue = {9: (0.2627, 0.0593), 10: (0.2627, 0.0593), _ITU709: (0.2126, 0.0722)}.get(
        matrix, (0.299, 0.114)
    )
    weights = np.array([[red, 1 - red - blue, blue]], np.float32) * (219 / 255)
    return cv2.transform(rgb, np.concatenate([weights, [[16.0]]], axis=1).astype(np.float32))


def plane_view(frame: VideoFrame, plane: int) -> np.ndarray:
    """Return one 8-bit plane as a view (rows, columns), valid while the frame exists."""
    return _plane(frame, plane, np.uint8)


def _plane(frame: VideoFrame, plane: int, kind: type[np.uint8 | np.uint16]) -> np.ndarray:
    buffer = frame.planes[plane]
    samples: np.ndarray = np.frombuffer(memoryview(buffer), kind)
    rows = samples.reshape(-1, abs(buffer.line_size) // samples.itemsize)[: buffer.height, : buffer.width]
    return rows if buffer.line_size > 0 else rows[::-1]  # raw pictures in AVI are stored bottom-up


def yuv420_to_rgb(yuv: np.ndarray, matrix: int) -> np.ndarray:
    """Return RGB uint8 (h, w, 3) of packed limited-range planes (h·3/2, w)."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(yuv), format="yuv420p")
    return _converted(frame, format="rgb24", src_colorspace=_MATRICES[matrix]).to_ndarray()
