// Plays the strips of a caption and of what is around it. A coarse view comes first, and becomes finer.

import { clock } from "./times.js";

const AROUND_MS = 1500;
const SHEET = 32;
const STEPS = [16, 4, 1];

export class Player extends EventTarget {
  constructor(canvas, line, captions, url) {
    super();
    this.canvas = canvas;
    this.line = line;
    this.captions = captions;
    this.url = url;
    this.position = 0;
    this.touched = false;
    this.frames = new Map();
    line.addEventListener("pointerdown", (event) => {
      line.setPointerCapture(event.pointerId);
      this.seek(this.#at(event));
    });
    line.addEventListener("pointermove", (event) => {
      if (line.hasPointerCapture(event.pointerId)) this.seek(this.#at(event));
    });
    line.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -100, ArrowRight: 100, PageUp: -1000, PageDown: 1000 }[event.key];
      if (!by) return;
      event.preventDefault();
      this.seek(this.position + by);
    });
    new ResizeObserver(() => this.drawLine()).observe(line);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.drawLine());
  }

  /** Show a caption, from a moment before it to one after it. */
  open(uid) {
    this.stop();
    this.position = this.captions.get(uid).start;
    this.touched = false;
    this.canvas.hidden = true;
    if (uid !== this.uid) {
      this.frames.clear();
      this.key = null;
    }
    this.follow(uid);
  }

  /** Show a caption with the times that it has now; what plays goes on. */
  follow(uid) {
    const caption = this.captions.get(uid);
    this.uid = uid;
    this.from = Math.max(0, caption.start - AROUND_MS);
    this.to = caption.end + AROUND_MS;
    this.position = Math.min(this.to, Math.max(this.from, this.position));
    const { footage } = this.captions;
    const first = footage.index(this.from);
    const last = Math.min(footage.frameCount, footage.index(this.to) + 1);
    const key = `${footage.version}.${caption.zone}.${first}.${last}`;
    if (key !== this.key) {
      this.key = key;
      clearTimeout(this.waiting);
      // Whoever goes on at once needs no player.
      if (footage.version) this.waiting = setTimeout(() => this.#load(key, caption.zone, first, last), 350);
    }
    this.#show();
  }

  async #load(key, zone, first, last) {
    for (const step of STEPS) {
      for (let at = first; at < last; at += SHEET * step) {
        const end = Math.min(last, at + SHEET * step);
        if (Math.ceil(at / step) * step >= end) continue;
        // A sheet that does not come leaves the coarser ones, or the picture of the text.
        await this.#sheet(key, zone, at, end, step).catch(() => {});
        if (key !== this.key) return;
        this.#show();
      }
    }
  }

  async #sheet(key, zone, from, to, step) {
    const answer = await fetch(this.url(`strips?from=${from}&to=${to}&step=${step}`, zone));
    if (!answer.ok) return;
    const indices = answer.headers.get("x-frame-indices").split(",").map(Number);
    const bitmap = await createImageBitmap(await answer.blob());
    if (key !== this.key) return;
    const height = bitmap.height / indices.length;
    indices.forEach((index, row) => this.frames.set(index, { bitmap, top: row * height, height }));
  }

  get isPlaying() {
    return this.ticking !== undefined;
  }

  toggle() {
    if (this.isPlaying) return this.stop();
    if (this.position >= this.to - 100) this.position = this.from;
    this.touched = true;
    let last = performance.now();
    const tick = (now) => {
      this.position += now - last;
      last = now;
      if (this.position >= this.to) {
        this.position = this.to;
        this.stop();
      } else {
        this.ticking = requestAnimationFrame(tick);
      }
      this.#show();
    };
    this.ticking = requestAnimationFrame(tick);
    this.dispatchEvent(new Event("state"));
  }

  stop() {
    if (this.ticking !== undefined) cancelAnimationFrame(this.ticking);
    this.ticking = undefined;
    this.dispatchEvent(new Event("state"));
  }

  seek(ms) {
    this.position = Math.min(this.to, Math.max(this.from, Math.round(ms)));
    this.touched = true;
    this.#show();
  }

  #show() {
    const index = this.captions.footage.index(Math.floor(this.position / 100) * 100);
    let frame = null;
    // The nearest earlier frame that is there.
    for (let at = index; at > index - 16 && at >= 0 && !frame; at -= 1) frame = this.frames.get(at);
    const context = this.canvas.getContext("2d");
    // Until somebody plays, the picture is that of the caption's text.
    this.canvas.hidden = !this.touched || !frame;
    if (frame) {
      this.canvas.width = frame.bitmap.width;
      this.canvas.height = frame.height;
      context.drawImage(frame.bitmap, 0, frame.top, frame.bitmap.width, frame.height, 0, 0, frame.bitmap.width, frame.height);
    }
    this.line.setAttribute("aria-valuemin", String(this.from));
    this.line.setAttribute("aria-valuemax", String(this.to));
    this.line.setAttribute("aria-valuenow", String(Math.round(this.position)));
    this.line.setAttribute("aria-valuetext", clock(this.position));
    this.drawLine();
    this.dispatchEvent(new Event("move"));
  }

  /** Draw the timeline: the captions around the position. */
  drawLine() {
    if (this.from === undefined) return;
    const ratio = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.line;
    this.line.width = width * ratio;
    this.line.height = height * ratio;
    const context = this.line.getContext("2d");
    const style = getComputedStyle(this.line);
    const colour = (name) => style.getPropertyValue(name).trim();
    const x = (ms) => ((ms - this.from) / (this.to - this.from)) * width;
    context.scale(ratio, ratio);
    context.fillStyle = colour("--sunken");
    context.fillRect(0, 0, width, height);
    for (const caption of this.captions.shown) {
      if (caption.end <= this.from || caption.start >= this.to) continue;
      context.fillStyle = colour(caption.uid === this.uid ? "--accent" : "--block");
      context.fillRect(x(caption.start), 6, Math.max(2, x(caption.end) - x(caption.start) - 1), height - 12);
    }
    context.fillStyle = colour("--ink");
    context.fillRect(x(this.position) - 1, 0, 2, height);
  }

  #at(event) {
    const box = this.line.getBoundingClientRect();
    return this.from + ((event.clientX - box.left) / box.width) * (this.to - this.from);
  }
}
