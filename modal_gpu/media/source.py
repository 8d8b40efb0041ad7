"""Opening of video files: the allowed demuxers and the choice of the video stream."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.codec.hwaccel import HWAccel
from av.container import Container, InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from modal_gpu.errors import BadVideoError, NoFramesError, NotAVideoError, NoVideoStreamError
from modal_gpu.media.pyav import PYAV_ERRORS, VideoPacket, one_line

#: Decoders refuse larger frames before allocating them, since headers may be wrong.
MAX_FRAME_PIXELS = 8192 * 8192

# Media containers only: a playlist (HLS, DASH, concat) could name other files and addresses, pictures
# and text are not videos, and raw streams have no time stamps.
_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,mpegts,mpeg,asf,ogg,mxf,nut,gxf,wtv,"
    "rm,dv,ivf,gif,amv,roq,swf,"
    "mp3,aac,flac,wav,w64,aiff,ac3,eac3,dts,amr,caf,au,ape,tta,wv"
)
#: Options of FFmpeg for every file that is opened.
OPEN_OPTIONS = {
    "format_whitelist": _DEMUXERS,
    "protocol_whitelist": "file",
    "max_pixels": str(MAX_FRAME_PIXELS),
}
_NOT_FOOTAGE = (
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
)

_log = logging.getLogger(__name__)


@contextmanager
def open_video(
    path: str | Path, hwaccel: HWAccel | None = None
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file; yield its container and its video stream (the default one, else the largest).

    Cover art is never chosen. ``hwaccel`` decodes the streams that it can; one that fails is left out.
    Raises ``FileNotFoundError``, :class:`NotAVideoError`, :class:`NoVideoStreamError`, or
    :class:`NoFramesError` for a file with only a header or for a codec without a decoder.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        container = _opened(path, hwaccel)
    except PYAV_ERRORS:
        raise _unreadable(path) from None
    with container:
        footage = [stream for stream in container.streams.video if not stream.disposition & _NOT_FOOTAGE]
        if not footage:
            kinds = sorted({stream.type for stream in container.streams})
            found = f"it holds only {', '.join(kinds)}" if kinds else "it holds no stream at all"
            raise NoVideoStreamError(f"the file has no video stream: {found}")
        decodable = [stream for stream in footage if stream.codec_context is not None]
        if not decodable:
            raise NoFramesError(
                "the video has no frames: its codec is not known here; convert the file, "
                "for example to H.264 in MP4"
            )
        yield container, max(decodable, key=_preference)


def _opened(path: Path, hwaccel: HWAccel | None) -> InputContainer:
    try:
        # An absolute path, so that FFmpeg does not parse a colon in the name as a protocol.
        return av.open(
            str(path.absolute()), options=dict(OPEN_OPTIONS), metadata_errors="replace", hwaccel=hwaccel
        )
    except PYAV_ERRORS as error:
        if hwaccel is None:
            raise
        _log.warning("opening a video without the GPU: %s", one_line(error))
        return _opened(path, None)


def is_broadcast(container: Container) -> bool:
    """Return whether the format records a running stream: it starts anywhere, and its clock may restart."""
    flag = av.format.Flags.ts_discont.value
    return bool(container.format.flags & flag)  # type: ignore[operator]  # the stub types the value as Flags


def is_cut_off(packet: VideoPacket) -> bool:
    """Return whether the file holds only a part of the packet.

    Such a packet makes a decoder with frame threads lose complete neighbouring frames. In a broadcast
    the flag only means that something is missing, and the decoder copes with it.
    """
    return packet.is_corrupt and not is_broadcast(packet.stream.container)


def _preference(stream: VideoStream) -> tuple[bool, int]:
    return bool(stream.disposition & Disposition.default), stream.width * stream.height


def _unreadable(path: Path) -> BadVideoError:
    with path.open("rb") as file:
        head = file.read(12)
    if not head:
        return NotAVideoError("the file is empty")
    if head[4:8] == b"ftyp":
        return NotAVideoError(
            "the MP4 file is cut off before its index (moov); upload the complete file again"
        )
    if head[:4] == b"\x1aE\xdf\xa3":
        return NoFramesError(
            "the Matroska or WebM file holds no frames: it is cut off right after its header; "
            "upload the complete file again"
        )
    return NotAVideoError("the file is not a video: its bytes are of no known video container")
