// The usual limits of subtitles. Full-width characters, as in Chinese, Japanese and Korean, count twice.

export const LINE_LIMIT = 42;
export const SPEED_LIMIT = 20;

const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** Return how many columns a text takes. */
export function width(text) {
  let columns = 0;
  for (const { segment } of graphemes.segment(text)) columns += WIDE.test(segment) ? 2 : 1;
  return columns;
}

/** Return the widths of a text's lines, and what is above the limits. */
export function check(text, ms) {
  const lines = text.split("\n").map((line) => width(line.trim()));
  const characters = lines.reduce((sum, line) => sum + line, 0);
  const speed = ms > 0 ? characters / (ms / 1000) : 0;
  return {
    lines,
    speed,
    long: lines.some((line) => line > LINE_LIMIT),
    fast: speed > SPEED_LIMIT,
  };
}
