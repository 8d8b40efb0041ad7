"""A report of what was damaged in a video or left out of it."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass
class DecodeReport:
    """Counters that a reader updates while it runs; final when it has ended."""

    decoded_frames: int = 0
    #: Frames that the decoder flagged as corrupt: parts are guessed from neighbouring frames.
    concealed_frames: int = 0
    #: Packets that could not be decoded at all; the last good frame replaces theirs.
    corrupt_packets: int = 0
    #: The corrupt packets that were complete but rejected by the decoder.
    refused_packets: int = 0
    #: Frames that a GPU failed to decode or to return; software then reads the file again.
    gpu_failures: int = 0
    #: Whether the file is shorter than its header says, or cannot be read to its end.
    ended_early: bool = False
    #: End of the decodable video, and the end according to the header, in seconds.
    end_seconds: Fraction | None = None
    promised_seconds: Fraction | None = None
    #: Number and total seconds of long gaps between frames, which are cut from the index axis.
    left_out_gaps: int = 0
    left_out_seconds: float = 0.0

    @property
    def decoder_met_damage(self) -> bool:
        """True if the decoder guessed or rejected pictures; a file that only ends early does not count."""
        return self.concealed_frames + self.refused_packets + self.gpu_failures > 0

    def reset(self) -> None:
        """Set every field to its default, before the file is read again in another way."""
        vars(self).update(vars(DecodeReport()))

    def describe(self) -> str:
        """Return one line for people; empty for an intact file without long gaps."""
        parts = []
        if self.corrupt_packets:
            parts.append(
                f"{self.corrupt_packets} damaged {'packet' if self.corrupt_packets == 1 else 'packets'} "
                "could not be decoded"
            )
        if self.concealed_frames:
            parts.append(
                f"{self.concealed_frames} of {self.decoded_frames} frames "
                f"{'is' if self.concealed_frames == 1 else 'are'} damaged and partly guessed"
            )
        if self.ended_early:
            part = "the file ends early"
            if self.end_seconds is not None:
                part += f", after {float(self.end_seconds):.1f} s"
                if self.promised_seconds is not None:
                    part += f" of {float(self.promised_seconds):.1f} s"
            parts.append(part)
        if self.left_out_gaps:
            gaps = "a gap" if self.left_out_gaps == 1 else f"{self.left_out_gaps} gaps"
            parts.append(f"{gaps} without frames left out, {self.left_out_seconds:.0f} s")
        return "; ".join(parts)
