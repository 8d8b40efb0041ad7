"""Opening a video file: which demuxers are allowed, which stream is the video."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from modal_gpu.errors import BadVideoError, NoFramesError, NotAVideoError, NoVideoStreamError
from modal_gpu.media.pyav import PYAV_ERRORS

#: Decoders refuse larger frames before they allocate them (headers lie).
MAX_FRAME_PIXELS = 8192 * 8192

# Real media containers only: playlists (HLS, DASH, concat) would let an upload name other files
# and addresses; pictures and text are no videos; raw streams have no time stamps.
_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,mpegts,mpeg,asf,ogg,mxf,nut,gxf,wtv,"
    "rm,dv,ivf,gif,amv,roq,swf,"
    "mp3,aac,flac,wav,w64,aiff,ac3,eac3,dts,amr,caf,au,ape,tta,wv"
)
_OPEN_OPTIONS = {
    "format_whitelist": _DEMUXERS,
    "protocol_whitelist": "file",
    "max_pixels": str(MAX_FRAME_PIXELS),
}
_NOT_FOOTAGE = (
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
)


@contextmanager
def open_video(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file's container and its video stream: the default one, else the largest; never cover art.

    Raises ``FileNotFoundError``, :class:`NotAVideoError`, :class:`NoVideoStreamError`, or
    :class:`NoFramesError` for a header alone or a codec without a decoder.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        # Absolute, so that a name with a colon is not taken for a protocol.
        container = av.open(str(path.absolute()), options=dict(_OPEN_OPTIONS), metadata_errors="replace")
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


def is_broadcast(container: InputContainer) -> bool:
    """Recordings of a running stream: they begin anywhere, and their clock may start again."""
    return bool(container.format.flags & av.format.Flags.ts_discont.value)


def is_cut_off(packet: Packet) -> bool:
    """A packet of which the file holds only a part.

    Decoders with frame threads lose whole frames beside it. (In a broadcast the flag only means
    that something is missing; there the decoder makes the best of it.)
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
            "the MP4 file is cut off before its index (moov); it has to be uploaded again, whole"
        )
    if head[:4] == b"\x1aE\xdf\xa3":
        return NoFramesError(
            "the Matroska or WebM file holds no frames: it is cut off right after its header; "
            "it has to be uploaded again, whole"
        )
    return NotAVideoError("the file is not a video: its bytes are of no known video container")
