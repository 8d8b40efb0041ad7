"""What was damaged in a video or left out of it, in words."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass
class DecodeReport:
    """Filled while a reader runs; complete when it has ended."""

    decoded_frames: int = 0
    #: Frames that the decoder repaired, by its own flag: parts are guessed from neighbours.
    concealed_frames: int = 0
    #: Packets that could not be decoded at all; the last good frame stands in for theirs.
    corrupt_packets: int = 0
    #: Those of them that the decoder got whole and refused.
    refused_packets: int = 0
    #: The file holds less than its header promised, or cannot be read to its end.
    ended_early: bool = False
    #: Where the decodable video ends, and where the header says it does, in seconds.
    end_seconds: Fraction | None = None
    promised_seconds: Fraction | None = None
    #: Long stretches without a frame that nothing is computed for, and their seconds in all.
    left_out_gaps: int = 0
    left_out_seconds: float = 0.0

    @property
    def decoder_met_damage(self) -> bool:
        """Pictures came out guessed, or not at all: more than a file that ends early."""
        return self.concealed_frames + self.refused_packets > 0

    def forget(self) -> None:
        """Start anew: what was read so far is read again in another way."""
        self.__init__()

    def describe(self) -> str:
        """One line for a person; empty for a healthy file without long gaps."""
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
