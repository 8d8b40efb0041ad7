// Times are a player's whole milliseconds. Indices count frames at 10 Hz, as in the catalogue.

/** A video's pictures: the map between a player's times and frame indices. */
export class Footage {
  constructor(facts) {
    this.version = facts.cropped_frames_version;
    this.frameCount = facts.frame_count;
    this.durationMs = Math.round(facts.duration_seconds * 1000);
    this.zones = facts.zones;
    this.spans = facts.time_spans;
    /** How long a frame of the source is shown; a tenth of a second where that is not known. */
    this.frameMs = facts.source_frame_seconds ? facts.source_frame_seconds * 1000 : 100;
  }

  /** Return the index at which a change at this time is first seen. */
  index(ms) {
    const at = Math.ceil(this.#axis(ms / 1000) * 10 - 0.011);
    return Math.min(Math.max(0, at), Math.max(0, this.frameCount - 1));
  }

  /** Return when a player first shows an index. */
  shown(index) {
    let offset = 0;
    for (const [first, seconds] of this.spans) if (first <= index) offset = seconds;
    return Math.round((index / 10 + offset) * 1000);
  }

  // The inverse of the catalogue's timeline: see modal_gpu/timeline.py.
  #axis(seconds) {
    for (let at = 0; at < this.spans.length; at += 1) {
      const [first, offset] = this.spans[at];
      const next = this.spans[at + 1];
      const axis = Math.max(first / 10, seconds - offset);
      if (!next || axis < next[0] / 10) return axis;
      if (seconds < next[0] / 10 + next[1]) return next[0] / 10;
    }
    return seconds;
  }
}

/** Return a time as 1:02.500, with hours if there are any. */
export function clock(ms) {
  const total = Math.max(0, Math.round(ms));
  const hours = Math.floor(total / 3600000);
  const minutes = Math.floor(total / 60000) % 60;
  const seconds = ((total % 60000) / 1000).toFixed(3).padStart(6, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${seconds}` : `${minutes}:${seconds}`;
}

/** Return the milliseconds of 62.5, 1:02.5 or 0:01:02.5; null for anything else. */
export function parseClock(text) {
  const parts = text.trim().replace(",", ".").split(":");
  if (parts.length > 3 || !parts.every((part) => /^\d+(\.\d+)?$/.test(part))) return null;
  return Math.round(parts.reduce((sum, part) => sum * 60 + Number(part), 0) * 1000);
}
