"""Encoding and decoding of JPEGs, and encoding of WebP."""

import cv2
import numpy as np

THUMBNAIL_WIDTH = 320


def encode_jpeg(rgb: np.ndarray, quality: int = 90) -> bytes:
    """Return ``rgb`` (H, W, 3) uint8 as a JPEG of ``quality`` 1 to 100."""
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise ValueError(f"an image of {rgb.shape[1]}×{rgb.shape[0]} cannot be stored as a JPEG")
    return data.tobytes()


def encode_webp(rgb: np.ndarray, quality: int = 80) -> bytes:
    """Return ``rgb`` (H, W, 3) uint8 as a WebP of ``quality`` 1 to 100. A side has at most 16,383 pixels."""
    done, data = cv2.imencode(
        ".webp", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, quality]
    )
    if not done:
        raise ValueError(f"an image of {rgb.shape[1]}×{rgb.shape[0]} cannot be stored as WebP")
    return data.tobytes()


def decode_jpeg(data: bytes) -> np.ndarray | None:
    """Return the image as RGB uint8 (H, W, 3), or ``None`` if it cannot be decoded."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def thumbnail(rgb: np.ndarray, width: int = THUMBNAIL_WIDTH) -> np.ndarray:
    """Return ``rgb`` scaled down to ``width``, keeping its aspect ratio; a narrower image is not changed."""
    height, full_width = rgb.shape[:2]
    if full_width <= width:
        return rgb
    size = (width, max(1, round(height * width / full_width)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
