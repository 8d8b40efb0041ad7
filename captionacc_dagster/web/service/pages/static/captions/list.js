// The list of captions. Only the rows in view are in the page, so that thousands open at once.

import { check } from "./checks.js";
import { clock } from "./times.js";

const ROW = 62;
const AROUND = 8;

export class CaptionList extends EventTarget {
  constructor(box, captions) {
    super();
    this.box = box;
    this.captions = captions;
    this.selected = null;
    this.rows = new Map();
    this.uids = [];
    this.space = document.createElement("div");
    this.space.className = "space";
    this.space.setAttribute("role", "presentation");
    box.append(this.space);
    box.addEventListener("scroll", () => this.#later(), { passive: true });
    box.addEventListener("click", (event) => {
      const row = event.target.closest("[data-uid]");
      if (row) this.dispatchEvent(new CustomEvent("choose", { detail: row.dataset.uid }));
    });
    new ResizeObserver(() => this.#later()).observe(box);
  }

  /** Show the captions as they are now. */
  refresh() {
    this.uids = this.captions.visible;
    this.space.style.height = `${this.uids.length * ROW}px`;
    this.rows.forEach((row) => row.remove());
    this.rows.clear();
    this.#draw();
  }

  select(uid) {
    this.selected = uid;
    const at = this.uids.indexOf(uid);
    if (at >= 0) {
      const top = at * ROW;
      const { scrollTop, clientHeight } = this.box;
      if (top < scrollTop + ROW) this.box.scrollTop = top - ROW;
      else if (top + 2 * ROW > scrollTop + clientHeight) this.box.scrollTop = top + 2 * ROW - clientHeight;
    }
    this.refresh();
  }

  #later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.#draw();
    });
  }

  #draw() {
    const { scrollTop, clientHeight } = this.box;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - AROUND);
    const last = Math.min(this.uids.length, Math.ceil((scrollTop + clientHeight) / ROW) + AROUND);
    const wanted = new Set(this.uids.slice(first, last));
    for (const [uid, row] of this.rows) {
      if (!wanted.has(uid)) {
        row.remove();
        this.rows.delete(uid);
      }
    }
    for (let at = first; at < last; at += 1) {
      const uid = this.uids[at];
      if (!this.rows.has(uid)) {
        const row = this.#row(uid, at);
        this.rows.set(uid, row);
        this.space.append(row);
      }
    }
    const active = this.rows.get(this.selected);
    if (active) this.box.setAttribute("aria-activedescendant", active.id);
    else this.box.removeAttribute("aria-activedescendant");
  }

  #row(uid, at) {
    const caption = this.captions.get(uid);
    const row = document.createElement("div");
    row.id = `row-${uid}`;
    row.dataset.uid = uid;
    row.className = "row";
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(uid === this.selected));
    row.setAttribute("aria-posinset", String(at + 1));
    row.setAttribute("aria-setsize", String(this.uids.length));
    row.style.transform = `translateY(${at * ROW}px)`;
    row.append(part("when", clock(caption.start).slice(0, -2)), this.#text(caption), this.#marks(caption));
    return row;
  }

  #text(caption) {
    const text = part("words", caption.text || (caption.standing === "unread" ? "not read yet" : "(empty)"));
    text.dir = "auto";
    if (!caption.text) text.classList.add("none");
    return text;
  }

  #marks(caption) {
    const marks = part("marks", "");
    const found = check(caption.text, caption.end - caption.start);
    const conflict = this.captions.outbox.conflict(caption.uid);
    if (conflict) marks.append(part("mark bad", "conflict"));
    if (caption.partial) marks.append(part("mark", "in work"));
    if (caption.standing === "removed") marks.append(part("mark", "removed"));
    else if (caption.reviewed) marks.append(part("mark good", "✓ reviewed"));
    for (const doubt of caption.doubts) marks.append(part("mark warn", doubt));
    if (found.long) marks.append(part("mark warn", `line of ${Math.max(...found.lines)}`));
    if (found.fast) marks.append(part("mark warn", `${found.speed.toFixed(0)} ch/s`));
    if (caption.zone) marks.append(part("mark", `zone ${caption.zone}`));
    return marks;
  }
}

function part(name, text) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}
