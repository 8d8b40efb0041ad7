// The page where a video's caption zones are set and approved.

import { problem, stateOf } from "/static/captions/sync.js";
import { clock } from "/static/captions/times.js";
import { LiveEvents, lookAfter } from "/static/events.js";
import { WorkBar } from "/static/progress.js";
import { SIDES, around, isIn, moved, resized, toApi, zonesFromApi } from "./geometry.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST_ZONES = 8;
const STEP = 0.002;
/** Labels that a person sets within this time are sent together. */
const SAVE_MS = 600;
const RETRY_MS = 4000;
/** A pointer that moves further than this, in pixels, drags; else it clicks. */
const CLICK_PX = 4;
const root = document.body;
const base = `/videos/${root.dataset.video}`;
const part = (name) => document.querySelector(`[data-part="${name}"]`);

class LayoutPage {
  constructor(layout) {
    /** Labels that the server does not have yet. */
    this.dirty = new Map();
    this.saving = Promise.resolve();
    this.#listen();
    this.take(layout, { zonesToo: true });
    const most = (frame) => frame.boxes.filter((box) => isIn(box, this.zones)).length;
    this.at = this.frames.reduce((best, frame, at) => (most(frame) > most(this.frames[best]) ? at : best), 0);
    this.draw();
  }

  take(layout, { zonesToo = false } = {}) {
    this.layout = layout;
    this.frames = layout.frames;
    if (zonesToo) this.reset();
    const waiting = this.dirty;
    this.dirty = new Map();
    for (const frame of this.frames) {
      for (const box of frame.boxes) {
        const key = `${frame.index}.${box.box_index}`;
        const asked = waiting.get(key);
        if (!asked) continue;
        box.label = asked.label === "clear" ? null : asked.label;
        this.dirty.set(key, asked);
      }
    }
    part("name").textContent = layout.name;
    document.title = `${layout.name}: layout`;
    const hasFrames = this.frames.length > 0;
    part("bench").hidden = !hasFrames;
    part("failed").hidden = !layout.error;
    part("failed").textContent = layout.error ?? "";
    part("partial").hidden = !layout.partial || Boolean(layout.error);
    part("partial").textContent = hasFrames
      ? "A run still works on this layout: these are the frames so far."
      : "There are no frames yet: they appear here as they are taken.";
    part("reason").textContent = [
      layout.confidence === null ? "" : `Confidence of the analysis: ${Math.round(layout.confidence * 100)} %.`,
      layout.reason,
    ].join(" ");
    part("status").textContent = layout.approved ? `Approved by ${layout.approved_by}` : "Not approved yet";
    if (layout.width) {
      part("frame").style.aspectRatio = `${layout.width} / ${layout.height}`;
      part("frame").style.maxWidth = `calc(68vh * ${layout.width / layout.height})`;
    }
    this.#tiles();
  }

  reset() {
    /** Whether a person has changed the zones. */
    this.isDrawn = false;
    this.zones = zonesFromApi(this.layout.crop_region, this.layout.zones);
  }

  // -- drawing

  draw() {
    const frame = this.frames[this.at];
    if (!frame) return;
    const picture = part("picture");
    const url = `${base}/full-frames/${frame.index}.jpg`;
    if (!picture.src.endsWith(url)) picture.src = url;
    picture.alt = `Frame at ${clock(frame.seconds * 1000)}`;
    part("place").textContent = `Frame ${this.at + 1} of ${this.frames.length}, ${clock(frame.seconds * 1000)}`;
    this.#overlay(frame);
    this.#effects();
    this.#fields();
  }

  #overlay(frame) {
    const overlay = part("overlay");
    const focus = overlay.contains(document.activeElement) ? document.activeElement.id : null;
    overlay.replaceChildren();
    // Text lines are above zones, so that they can be clicked inside of one.
    this.zones.forEach((zone) => overlay.append(this.#zone(zone)));
    for (const box of frame.boxes) overlay.append(this.#box(box));
    if (focus) document.getElementById(focus)?.focus();
  }

  #box(box) {
    const element = rectangle(box);
    const state = isIn(box, this.zones) ? "in" : "out";
    element.id = `box-${box.box_index}`;
    element.setAttribute("class", `box ${state} ${box.label ? "labelled" : ""}`);
    element.setAttribute("tabindex", "0");
    element.setAttribute("role", "button");
    element.dataset.box = box.box_index;
    const label = box.label ? `labelled ${box.label}` : "no label";
    element.setAttribute("aria-label", `Text line "${box.text}": ${state} the zones, ${label}`);
    const title = document.createElementNS(SVG, "title");
    title.textContent = box.text;
    element.append(title);
    return element;
  }

  #zone(zone) {
    const group = document.createElementNS(SVG, "g");
    const area = rectangle(zone);
    group.id = `zone-${zone.number}`;
    group.dataset.zone = zone.number;
    group.setAttribute("class", "zone");
    group.setAttribute("tabindex", "0");
    group.setAttribute("role", "group");
    const sides = SIDES.map((side) => `${side} ${(zone[side] * 100).toFixed(1)} %`).join(", ");
    group.setAttribute("aria-label", `Zone ${zone.number}: ${sides}`);
    area.setAttribute("class", "area");
    group.append(area);
    for (const [x, y] of [["left", "top"], ["right", "top"], ["left", "bottom"], ["right", "bottom"]]) {
      const size = { x: 0.008, y: 0.014 };
      const handle = rectangle({
        left: zone[x] - size.x,
        right: zone[x] + size.x,
        top: zone[y] - size.y,
        bottom: zone[y] + size.y,
      });
      handle.setAttribute("class", `handle ${x}-${y}`);
      handle.dataset.sides = `${x} ${y}`;
      group.append(handle);
    }
    return group;
  }

  /** Build the contact sheet; `#effects` colours it. */
  #tiles() {
    const tiles = part("tiles");
    tiles.replaceChildren();
    this.frames.forEach((frame, at) => {
      const tile = document.createElement("button");
      tile.type = "button";
      tile.className = "tile";
      tile.dataset.at = at;
      const image = new Image();
      image.loading = "lazy";
      image.alt = "";
      image.src = `${base}/full-frames/${frame.index}.jpg?thumbnail=true`;
      const overlay = document.createElementNS(SVG, "svg");
      overlay.setAttribute("viewBox", "0 0 1 1");
      overlay.setAttribute("preserveAspectRatio", "none");
      overlay.setAttribute("aria-hidden", "true");
      const picture = document.createElement("div");
      picture.append(image, overlay);
      tile.append(picture, document.createElement("span"));
      tiles.append(tile);
    });
  }

  #effects() {
    let linesIn = 0;
    let framesIn = 0;
    let framesRead = 0;
    [...part("tiles").children].forEach((tile, at) => {
      const frame = this.frames[at];
      const overlay = tile.querySelector("svg");
      overlay.replaceChildren();
      const inside = frame.boxes.filter((box) => isIn(box, this.zones));
      for (const box of frame.boxes) {
        const element = rectangle(box);
        element.setAttribute("class", `box ${inside.includes(box) ? "in" : "out"}`);
        overlay.append(element);
      }
      for (const zone of this.zones) {
        const element = rectangle(zone);
        element.setAttribute("class", "area");
        overlay.append(element);
      }
      const time = clock(frame.seconds * 1000).slice(0, -4);
      // The analysis stops to read frames when it is certain.
      tile.querySelector("span").textContent = frame.boxes.length ? `${time} · ${inside.length} in` : time;
      framesRead += frame.boxes.length > 0;
      tile.setAttribute("aria-current", String(at === this.at));
      linesIn += inside.length;
      framesIn += inside.length > 0;
    });
    const all = this.frames.reduce((sum, frame) => sum + frame.boxes.length, 0);
    part("effect").textContent =
      `${linesIn} of ${all} text lines are in, on ${framesIn} of the ${framesRead} frames in which text was read.`;
  }

  #fields() {
    const box = part("zones");
    if (box.contains(document.activeElement) && document.activeElement.tagName === "INPUT") return;
    box.replaceChildren();
    for (const zone of this.zones) {
      const field = document.createElement("fieldset");
      const legend = document.createElement("legend");
      legend.textContent = zone.number ? `Zone ${zone.number}` : "Zone 0 (main)";
      field.append(legend);
      for (const side of SIDES) field.append(labelled(side, this.#sideInput(zone, side)));
      if (zone.number) {
        const language = document.createElement("input");
        language.value = zone.language;
        language.placeholder = "the video's";
        language.addEventListener("change", () => {
          zone.language = language.value.trim();
          this.isDrawn = true;
        });
        field.append(labelled("language", language));
        const remove = document.createElement("button");
        remove.type = "button";
        remove.textContent = `Remove zone ${zone.number}`;
        remove.addEventListener("click", () => {
          this.zones = this.zones.filter((one) => one !== zone);
          this.isDrawn = true;
          this.draw();
        });
        field.append(remove);
      }
      box.append(field);
    }
  }

  #sideInput(zone, side) {
    const input = document.createElement("input");
    Object.assign(input, { type: "number", min: 0, max: 100, step: 0.1, value: (zone[side] * 100).toFixed(1) });
    input.addEventListener("change", () => {
      this.change(zone, resized(zone, { [side]: Number(input.value) / 100 - zone[side] }));
      input.value = (this.#find(zone.number)[side] * 100).toFixed(1);
    });
    return input;
  }

  #find(number) {
    return this.zones.find((zone) => zone.number === number);
  }

  change(zone, sides) {
    Object.assign(this.#find(zone.number), sides);
    this.isDrawn = true;
    this.draw();
  }

  // -- events

  #listen() {
    const overlay = part("overlay");
    overlay.addEventListener("pointerdown", (event) => this.#press(event));
    overlay.addEventListener("keydown", (event) => this.#overlayKey(event));
    part("tiles").addEventListener("click", (event) => {
      const tile = event.target.closest("[data-at]");
      if (tile) this.go(Number(tile.dataset.at));
    });
    // The request outlives the page, and nobody sees its answer.
    addEventListener("pagehide", () => this.#send({ keepalive: true }).catch(() => {}));
    document.addEventListener("click", (event) => {
      const button = event.target.closest("[data-do]");
      if (button) this.do(button.dataset.do);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "PageUp" || event.key === "PageDown") {
        event.preventDefault();
        this.go(this.at + (event.key === "PageUp" ? -1 : 1));
      } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.do("approve");
      }
    });
  }

  /** A zone is dragged, also by a text line in it; a text line that is clicked is labelled. */
  #press(event) {
    if (event.button !== 0) return;
    const box = event.target.closest("[data-box]");
    const frame = part("overlay").getBoundingClientRect();
    const from = { x: event.clientX, y: event.clientY };
    const zone = { ...this.#zoneAt(event, (from.x - frame.left) / frame.width, (from.y - frame.top) / frame.height) };
    const hasZone = zone.number !== undefined;
    if (!box && !hasZone) return;
    event.preventDefault();
    const sides = event.target.dataset.sides?.split(" ");
    let isDrag = !box;
    document.getElementById(box ? box.id : `zone-${zone.number}`).focus();
    const drag = (move) => {
      isDrag ||= Math.hypot(move.clientX - from.x, move.clientY - from.y) > CLICK_PX;
      if (!isDrag || !hasZone) return;
      const x = (move.clientX - from.x) / frame.width;
      const y = (move.clientY - from.y) / frame.height;
      this.change(zone, sides ? resized(zone, { [sides[0]]: x, [sides[1]]: y }) : moved(zone, x, y));
    };
    const end = ({ type }) => {
      removeEventListener("pointermove", drag);
      removeEventListener("pointerup", end);
      removeEventListener("pointercancel", end);
      if (!isDrag && type === "pointerup") this.label(Number(box.dataset.box));
    };
    addEventListener("pointermove", drag);
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
  }

  /** The zone that was pressed, or the last one under a place in the frame. */
  #zoneAt(event, x, y) {
    const group = event.target.closest("[data-zone]");
    if (group) return this.#find(Number(group.dataset.zone));
    return this.zones.findLast((zone) => x >= zone.left && x <= zone.right && y >= zone.top && y <= zone.bottom);
  }

  #overlayKey(event) {
    const box = event.target.closest("[data-box]");
    if (box && (event.key === "Enter" || event.key === " ") && !event.ctrlKey) {
      event.preventDefault();
      return this.label(Number(box.dataset.box));
    }
    const group = event.target.closest("[data-zone]");
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!group || !way) return;
    event.preventDefault();
    const zone = this.#find(Number(group.dataset.zone));
    const [x, y] = way.map((one) => one * STEP * (event.shiftKey ? 10 : 1));
    if (event.altKey) this.change(zone, resized(zone, x ? { right: x } : { bottom: y }));
    else if (event.ctrlKey) this.change(zone, resized(zone, x ? { left: x } : { top: y }));
    else this.change(zone, moved(zone, x, y));
  }

  go(at) {
    this.at = Math.min(this.frames.length - 1, Math.max(0, at));
    this.draw();
    part("tiles").children[this.at]?.scrollIntoView({ block: "nearest" });
  }

  /** Label a text line: in, out, none, and so on. The server gets the labels of a moment together. */
  label(number) {
    const frame = this.frames[this.at];
    const box = frame.boxes.find((one) => one.box_index === number);
    const next = { in: "out", out: null }[box.label];
    box.label = next === undefined ? "in" : next;
    this.dirty.set(`${frame.index}.${number}`, {
      frame_index: frame.index,
      box_index: number,
      label: box.label ?? "clear",
    });
    this.draw();
    this.#saveSoon(SAVE_MS);
  }

  #saveSoon(pause) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.save().catch((error) => this.say(error.message, "bad")), pause);
  }

  /** Send the labels that wait, after the request before: a later label must not be overtaken. */
  save({ analyse = false } = {}) {
    clearTimeout(this.waiting);
    this.saving = this.saving.catch(() => {}).then(() => this.#send({ analyse }));
    return this.saving;
  }

  async #send({ analyse = false, keepalive = false } = {}) {
    const labels = [...this.dirty.values()];
    if (!labels.length && !analyse) return null;
    const sent = new Map(this.dirty);
    try {
      const layout = await this.#post("/layout/labels", { labels, analyse }, { keepalive });
      for (const [key, value] of sent) if (this.dirty.get(key) === value) this.dirty.delete(key);
      this.say(analyse ? "The analysis was made again with your labels." : "Labels saved.");
      return layout;
    } catch (error) {
      if (["locked", "offline"].includes(stateOf(error).kind)) this.#saveSoon(RETRY_MS);
      throw error;
    }
  }

  async #post(path, body, { keepalive = false } = {}) {
    const answer = await fetch(base + path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      keepalive,
    });
    if (!answer.ok) throw await problem(answer);
    return answer.json();
  }

  async do(action) {
    const actions = {
      previous: () => this.go(this.at - 1),
      next: () => this.go(this.at + 1),
      add: () => this.#add(),
      fit: () => this.#fit(),
      reset: () => {
        this.reset();
        this.draw();
      },
      propose: async () => {
        const layout = await this.save({ analyse: true });
        this.take(layout);
        this.zones = zonesFromApi(layout.proposed_crop_region, layout.proposed_zones);
        this.isDrawn = true;
        this.draw();
      },
      approve: () => this.#approve(),
    };
    try {
      await actions[action]?.();
    } catch (error) {
      this.say(error.message, "bad");
    }
  }

  #add() {
    const taken = new Set([...this.zones.map((zone) => zone.number), ...this.layout.kept_zones]);
    let number = this.zones.length ? 1 : 0;
    while (taken.has(number) && number) number += 1;
    if (number >= MOST_ZONES) return this.say("There are eight zones, with those that captions are kept of.", "bad");
    const free = this.zones.some((zone) => zone.top < 0.2) ? { top: 0.45, bottom: 0.57 } : { top: 0.05, bottom: 0.17 };
    this.zones.push({ number, language: "", left: 0.1, right: 0.9, ...free });
    this.isDrawn = true;
    this.draw();
    document.getElementById(`zone-${number}`).focus();
  }

  #fit() {
    const boxes = this.frames.flatMap((frame) => frame.boxes).filter((box) => box.label === "in");
    const region = around(boxes);
    if (!region) return this.say("Mark some text lines as in first.");
    if (this.zones.length) this.change(this.zones[0], region);
    else this.zones.push({ number: 0, language: "", ...region });
    this.isDrawn = true;
    this.draw();
  }

  async #approve() {
    if (!this.zones.length) return this.say("Add a zone first.", "bad");
    await this.save();
    const [main, ...further] = this.zones;
    const queued = await this.#post("/actions/approve-layout", {
      crop_region: toApi(main),
      zones: further.map((zone) => ({
        zone_index: zone.number,
        crop_region: toApi(zone),
        language: zone.language || null,
      })),
    });
    const run = queued.run_id ? `Run ${queued.run_id.slice(0, 8)} makes the captions.` : "The captions will be made.";
    this.say(`Approved. ${run}`, "good");
    part("status").textContent = "Approved by you";
    part("onward").hidden = false;
  }

  say(message, kind = "") {
    const box = part("message");
    box.textContent = message;
    box.className = `message ${kind}`;
  }
}

function rectangle({ left, top, right, bottom }) {
  const element = document.createElementNS(SVG, "rect");
  element.setAttribute("x", left);
  element.setAttribute("y", top);
  element.setAttribute("width", Math.max(0, right - left));
  element.setAttribute("height", Math.max(0, bottom - top));
  element.setAttribute("vector-effect", "non-scaling-stroke");
  return element;
}

function labelled(words, input) {
  const label = document.createElement("label");
  label.append(words, input);
  return label;
}

async function begin() {
  const answer = await fetch(`${base}/layout`, { cache: "no-store" });
  if (!answer.ok) throw await problem(answer);
  const page = new LayoutPage(await answer.json());
  root.dataset.ready = "true";
  const events = new LiveEvents(root.dataset.video);
  new WorkBar(part("work"), events, ["layout"]);
  const look = async () => {
    if (!page.layout.partial || document.hidden) return;
    const again = await fetch(`${base}/layout`, { cache: "no-store" }).catch(() => null);
    if (!again?.ok) return;
    // What a person has drawn meanwhile stays.
    page.take(await again.json(), { zonesToo: !page.isDrawn });
    page.draw();
  };
  lookAfter(events, ["ready", "reset", "video", "layout", "progress"], look, 2000);
}

begin().catch((error) => {
  part("failed").hidden = false;
  part("failed").textContent = error.message;
});
