// Zones and text lines as fractions of the frame.

export const LEAST = 0.01;
export const SIDES = ["left", "top", "right", "bottom"];

/** Return the zones of the API, zone 0 first, with plain sides. */
export function zonesFromApi(region, further) {
  const all = region ? [{ zone_index: 0, crop_region: region }, ...further] : further;
  return all.map((zone) => ({
    number: zone.zone_index,
    language: zone.language ?? "",
    ...Object.fromEntries(SIDES.map((side) => [side, zone.crop_region[`crop_${side}`]])),
  }));
}

export function toApi(zone) {
  return Object.fromEntries(SIDES.map((side) => [`crop_${side}`, Math.round(zone[side] * 1e5) / 1e5]));
}

/** Move a zone as far as the frame lets it. */
export function moved(zone, x, y) {
  const dx = Math.min(1 - zone.right, Math.max(-zone.left, x));
  const dy = Math.min(1 - zone.bottom, Math.max(-zone.top, y));
  return { ...zone, left: zone.left + dx, right: zone.right + dx, top: zone.top + dy, bottom: zone.bottom + dy };
}

/** Move some sides of a zone; it stays inside the frame and keeps the least size. */
export function resized(zone, changes) {
  const next = { ...zone };
  for (const [side, by] of Object.entries(changes)) next[side] = Math.min(1, Math.max(0, zone[side] + by));
  if ("left" in changes) next.left = Math.min(next.left, next.right - LEAST);
  if ("right" in changes) next.right = Math.max(next.right, next.left + LEAST);
  if ("top" in changes) next.top = Math.min(next.top, next.bottom - LEAST);
  if ("bottom" in changes) next.bottom = Math.max(next.bottom, next.top + LEAST);
  return next;
}

/** Whether a text line is read as a caption: its middle lies in a zone, and nobody labelled it out. */
export function isIn(box, zones) {
  if (box.label === "out") return false;
  const x = (box.left + box.right) / 2;
  const y = (box.top + box.bottom) / 2;
  return zones.some((zone) => x >= zone.left && x <= zone.right && y >= zone.top && y <= zone.bottom);
}

/** Return the zone around boxes, with half a line of room on each side; null without boxes. */
export function around(boxes) {
  if (!boxes.length) return null;
  const heights = boxes.map((box) => box.bottom - box.top).sort((a, b) => a - b);
  const room = heights[Math.floor(heights.length / 2)] / 2;
  return {
    left: Math.max(0, Math.min(...boxes.map((box) => box.left)) - room),
    top: Math.max(0, Math.min(...boxes.map((box) => box.top)) - room),
    right: Math.min(1, Math.max(...boxes.map((box) => box.right)) + room),
    bottom: Math.min(1, Math.max(...boxes.map((box) => box.bottom)) + room),
  };
}
