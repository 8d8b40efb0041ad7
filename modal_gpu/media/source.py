"""Opening a video file: which demuxers are allowed, which stream is the video."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from modal_gpu.errors import NotAVideoError, NoVideoStreamError

#: Decoders refuse larger frames before they allocate them (headers lie).
MAX_FRAME_PIXELS = 8192 * 8192

# Real media containers only: playlists (HLS, DASH, concat) would let an upload name other files
# and addresses, and pictures or text are no videos.
_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,mpegts,mpeg,mpegvideo,asf,ogg,mxf,nut,gxf,wtv,"
    "rm,dv,ivf,gif,h264,hevc,vvc,m4v,obu,av1,vc1,amv,roq,swf,"
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

    Raises ``FileNotFoundError``, :class:`NotAVideoError`, :class:`NoVideoStreamError`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        # Absolute, so that a name with a colon is not taken for a protocol.
        container = av.open(str(path.absolute()), options=dict(_OPEN_OPTIONS), metadata_errors="replace")
    except av.FFmpegError:
        raise NotAVideoError(_why_not_a_video(path)) from None
    with container:
        footage = [stream for stream in container.streams.video if not stream.disposition & _NOT_FOOTAGE]
        if not footage:
            kinds = sorted({stream.type for stream in container.streams})
            found = f"it holds only {', '.join(kinds)}" if kinds else "it holds no stream at all"
            raise NoVideoStreamError(f"the file has no video stream: {found}")
        yield container, max(footage, key=_preference)


def _preference(stream: VideoStream) -> tuple[bool, int]:
    return bool(stream.disposition & Disposition.default), stream.width * stream.height


def _why_not_a_video(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if not head:
        return "the file is empty"
    if head[4:8] == b"ftyp":
        return "the MP4 file is cut off before its index (moov); it has to be uploaded again, whole"
    return "the file is not a video: its bytes are of no known video container"
