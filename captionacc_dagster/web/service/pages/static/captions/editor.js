// The caption that is being corrected: its picture, text, times, and the frames at its borders.

import { LINE_LIMIT, SPEED_LIMIT, check } from "./checks.js";
import { snapshot } from "./model.js";
import { clock, parseClock } from "./times.js";

/** The least length of a caption that keys make. */
const LEAST_MS = 40;
const STEP_MS = 100;
/** Captions whose pictures are fetched ahead. */
const AHEAD = 3;

export class Editor extends EventTarget {
  constructor(root, captions, player, url) {
    super();
    this.captions = captions;
    this.player = player;
    this.url = url;
    this.uid = null;
    /** The text that was put into the field; another one was typed. */
    this.shown = "";
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.text = this.part("text");
    this.fields = { start: this.part("start"), end: this.part("end") };
    this.text.addEventListener("input", () => this.#typed());
    for (const [edge, field] of Object.entries(this.fields)) {
      field.addEventListener("change", () => this.#entered(edge, field));
    }
    this.part("strip").addEventListener("error", () => this.part("strip").classList.add("missing"));
    // Events of pictures do not bubble.
    root.addEventListener("load", ({ target }) => target.classList?.remove("pending"), true);
    addEventListener("pagehide", () => this.keepDraft());
  }

  get caption() {
    return this.captions.get(this.uid);
  }

  get hasTyped() {
    return Boolean(this.caption) && this.text.value !== this.shown;
  }

  /** Show a caption; what was typed into the one before is kept as an edit. */
  open(uid, { at = null } = {}) {
    if (uid !== this.uid) this.commit();
    this.uid = uid;
    const { caption } = this;
    this.text.disabled = !caption;
    if (!caption) return this.#put("");
    const { draft } = this.captions.outbox;
    this.#put(textOf(caption));
    if (draft?.uid === uid) this.text.value = draft.text;
    const caret = at ?? this.text.value.length;
    this.text.setSelectionRange(...(Array.isArray(caret) ? caret : [caret, caret]));
    this.player.open(uid);
    this.refresh();
    this.#ahead();
  }

  /** Show the caption's facts and pictures as they are now; never what is being typed. */
  refresh() {
    const { caption } = this;
    if (!caption) return;
    // Another person's text must be seen before it is confirmed.
    if (!this.hasTyped && textOf(caption) !== this.shown) this.#put(textOf(caption));
    for (const [edge, field] of Object.entries(this.fields)) {
      if (document.activeElement !== field) field.value = clock(caption[edge]);
    }
    this.#picture(this.part("strip"), this.#stripUrl(caption), `Picture of the caption at ${clock(caption.start)}`);
    this.#borders(caption);
    this.#limits();
    this.#facts(caption);
    this.#conflict();
  }

  // -- text

  #put(text) {
    const { selectionStart, selectionEnd } = this.text;
    this.shown = text;
    this.text.value = text;
    this.text.setSelectionRange(selectionStart, selectionEnd);
  }

  #typed() {
    const { outbox } = this.captions;
    outbox.setDraft(this.hasTyped ? { uid: this.uid, text: this.text.value } : null);
    this.#limits();
  }

  keepDraft() {
    if (this.hasTyped) this.captions.outbox.setDraft({ uid: this.uid, text: this.text.value });
  }

  /** Forget what was typed. */
  discard() {
    this.captions.outbox.setDraft(null);
    this.shown = this.text.value;
  }

  /** Make an edit of what was typed. */
  commit() {
    const { caption, captions } = this;
    // Before the first caption is open, a draft of an earlier visit waits.
    if (!caption) return;
    const hasTyped = this.hasTyped;
    captions.outbox.setDraft(null);
    if (hasTyped) this.change({ text: this.text.value, reviewed: true });
  }

  /** Confirm the caption with its text as it stands here; an empty text removes it. */
  confirm() {
    const { caption } = this;
    if (!caption) return;
    this.captions.outbox.setDraft(null);
    const isSame = caption.reviewed && caption.standing === "shown" && !this.hasTyped;
    if (!isSame) this.change({ text: this.text.value, reviewed: true });
  }

  change(fields) {
    const { caption } = this;
    const wanted = { ...snapshot(caption), ...fields };
    this.shown = this.text.value;
    if (wanted.text.trim()) this.captions.edit([caption.uid], [wanted]);
    else if (caption.standing !== "removed") this.captions.edit([caption.uid], []);
  }

  // -- times

  /** Move a border by a source frame, or by a tenth of a second. */
  step(edge, direction, coarse) {
    const by = direction * (coarse ? STEP_MS : this.captions.footage.frameMs);
    this.set(edge, this.caption?.[edge] + by);
  }

  /** Set a border, as far as the neighbours and the video let it. */
  set(edge, ms) {
    const { caption, captions } = this;
    if (!caption) return;
    const { previous, next } = captions.neighbours(caption.uid);
    const floor = previous && previous.end <= caption.start ? previous.end : 0;
    const ceiling = next && next.start >= caption.end ? next.start : captions.footage.shown(captions.footage.frameCount);
    const [least, most] = edge === "start" ? [floor, caption.end - LEAST_MS] : [caption.start + LEAST_MS, ceiling];
    const at = Math.round(Math.min(most, Math.max(least, ms)));
    if (at === caption[edge]) return this.dispatchEvent(new CustomEvent("say", { detail: "It cannot move further." }));
    // Without a text the edit would remove the caption.
    if (!this.text.value.trim()) return this.dispatchEvent(new CustomEvent("say", { detail: "Write its text first." }));
    captions.outbox.setDraft(null);
    this.change({ text: this.text.value, [edge]: at, reviewed: true });
    this.dispatchEvent(new CustomEvent("say", { detail: `${edge} ${clock(at)}` }));
    // Borders can be set while the strip plays.
    if (this.player.touched) this.player.follow(caption.uid);
    else this.player.open(caption.uid);
    this.refresh();
  }

  #entered(edge, field) {
    const ms = parseClock(field.value);
    if (ms === null) {
      this.dispatchEvent(new CustomEvent("say", { detail: "Write a time as 1:02.5 or 62.5." }));
      field.value = clock(this.caption[edge]);
    } else {
      this.set(edge, ms);
    }
  }

  // -- splits and merges

  /** Divide the caption at the cursor; in time where the player stands, else by the share of the text. */
  split() {
    const { caption } = this;
    const { value, selectionStart: caret } = this.text;
    const texts = [value.slice(0, caret).trim(), value.slice(caret).trim()];
    if (!caption || !texts[0] || !texts[1]) {
      return this.dispatchEvent(new CustomEvent("say", { detail: "Put the cursor between two words first." }));
    }
    const { position, touched } = this.player;
    const isInside = touched && position > caption.start + LEAST_MS && position < caption.end - LEAST_MS;
    const share = texts[0].length / (texts[0].length + texts[1].length);
    const guess = caption.start + Math.round(((caption.end - caption.start) * share) / 10) * 10;
    const at = Math.round(isInside ? position : guess);
    this.captions.outbox.setDraft(null);
    this.shown = value;
    const first = { ...snapshot(caption), end: at, text: texts[0], reviewed: true };
    const second = { ...first, uid: `n${crypto.randomUUID()}`, start: at, end: caption.end, text: texts[1] };
    this.captions.edit([caption.uid], [first, second]);
    this.open(caption.uid, { at: texts[0].length });
  }

  merge() {
    const { caption } = this;
    const next = caption && this.captions.neighbours(caption.uid).next;
    if (!next) return this.dispatchEvent(new CustomEvent("say", { detail: "No caption follows." }));
    this.captions.outbox.setDraft(null);
    this.shown = this.text.value;
    const text = [this.text.value.trim(), next.text.trim()].filter(Boolean).join("\n");
    const wanted = { ...snapshot(caption), end: Math.max(caption.end, next.end), text, reviewed: true };
    this.captions.edit([caption.uid, next.uid], [wanted]);
    this.open(caption.uid);
  }

  // -- what is shown

  #stripUrl({ startIndex, endIndex, zone }) {
    const { frameCount } = this.captions.footage;
    const to = Math.min(frameCount, Math.max(endIndex, startIndex + 1));
    return this.url(`strips?from=${Math.min(startIndex, to - 1)}&to=${to}`, zone);
  }

  #picture(image, url, name) {
    image.alt = name;
    if (image.dataset.url === url) return;
    image.dataset.url = url;
    image.classList.remove("missing");
    if (!this.captions.footage.version) return image.removeAttribute("src");
    image.src = url;
    // A browser shows the former picture until the next one has come: never above another caption's text.
    image.classList.toggle("pending", !image.complete);
  }

  #borders(caption) {
    const { footage } = this.captions;
    const { startIndex, endIndex, zone } = caption;
    const frames = { before: startIndex - 1, first: startIndex, last: endIndex - 1, after: endIndex };
    for (const [name, index] of Object.entries(frames)) {
      const figure = this.part(name);
      const isThere = index >= 0 && index < footage.frameCount;
      figure.classList.toggle("empty", !isThere);
      const caption_ = figure.querySelector("figcaption");
      const words = { before: "before the start", first: "first frame", last: "last frame", after: "after the end" };
      caption_.textContent = isThere ? `${words[name]} · ${clock(footage.shown(index)).slice(0, -2)}` : `the video ${index < 0 ? "begins" : "ends"} here`;
      const image = figure.querySelector("img");
      if (isThere) this.#picture(image, this.url(`frames/${index}.webp`, zone), words[name]);
      else {
        image.removeAttribute("src");
        image.dataset.url = "";
        image.alt = "";
      }
    }
  }

  #limits() {
    const { caption } = this;
    const found = check(this.text.value, caption.end - caption.start);
    const lines = this.part("lines");
    lines.textContent = `${found.lines.join(" + ")} of ${LINE_LIMIT} a line`;
    lines.classList.toggle("over", found.long);
    const speed = this.part("speed");
    speed.textContent = `${found.speed.toFixed(1)} of ${SPEED_LIMIT} characters/s`;
    speed.classList.toggle("over", found.fast);
    this.part("length").textContent = `${((caption.end - caption.start) / 1000).toFixed(2)} s`;
  }

  #facts(caption) {
    const facts = [];
    if (caption.partial) facts.push("in work");
    if (caption.standing === "removed") facts.push("removed: Enter restores it");
    else if (caption.reviewed) facts.push("reviewed");
    else facts.push(...(caption.doubts.length ? caption.doubts : ["to review"]));
    if (!caption.reviewed && caption.certainty < 1) facts.push(`certainty ${Math.round(caption.certainty * 100)} %`);
    this.part("facts").textContent = facts.join(" · ");
    const read = this.part("read");
    const isOther = caption.ocr && caption.ocr !== this.text.value;
    read.hidden = !isOther;
    if (isOther) {
      read.querySelector("[data-part=ocr]").textContent = caption.ocr;
    }
  }

  #conflict() {
    const edit = this.captions.outbox.conflict(this.uid);
    const box = this.part("conflict");
    box.hidden = !edit;
    if (!edit) return;
    const theirs = Object.values(edit.current);
    const shown = theirs.filter(Boolean).map((row) => row.standing === "removed" ? "(removed)" : row.text);
    this.part("theirs").textContent = shown.length ? shown.join("\n") : "(gone: it was merged, split or removed)";
    this.part("mine").textContent = edit.wanted.map((one) => one.text).join("\n") || "(removed)";
  }

  #ahead() {
    const order = this.captions.visible;
    const at = order.indexOf(this.uid);
    if (!this.captions.footage.version) return;
    for (const uid of order.slice(at + 1, at + 1 + AHEAD)) new Image().src = this.#stripUrl(this.captions.get(uid));
  }
}

/** The text to start from: what OCR read in a removed caption, so that Enter restores it. */
function textOf(caption) {
  return caption.text || (caption.standing === "removed" ? caption.ocr : "");
}
