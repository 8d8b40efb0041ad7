// The captions as this window shows them: what the server has, with this window's edits on top.
//
// An edit names the captions that it was made on, and what takes their place. It shows at once, waits in the
// outbox, and is sent with the versions that this window has seen. A caption has a name of its own here
// (`uid`), because the server gives new captions their ids later.

const SAME_MS = 20;
const FIELDS = ["start", "end", "text", "zone", "reviewed"];

/** Return a copy of what an edit can change. */
export function snapshot(caption) {
  return Object.fromEntries(["uid", ...FIELDS].map((name) => [name, caption[name]]));
}

const words = (text) => text.split(/\s+/).filter(Boolean).join(" ");

/** Whether a caption is as an edit left it; the server rounds times, and trims lines. */
function isAs(caption, one) {
  return (
    caption?.standing === "shown" &&
    (one.zone ?? caption.zone) === caption.zone &&
    Math.abs(caption.start - one.start) <= SAME_MS &&
    Math.abs(caption.end - one.end) <= SAME_MS &&
    words(caption.text) === words(one.text)
  );
}

export class Captions extends EventTarget {
  constructor(footage, outbox) {
    super();
    this.footage = footage;
    this.outbox = outbox;
    this.byUid = new Map();
    this.uidOf = new Map();
    this.order = [];
    this.byDoubt = true;
    this.filter = "all";
    this.undoable = [];
    this.redoable = [];
    /** What was typed into captions whose times were refused, with the version that it was typed on. */
    this.refused = new Map();
    for (const [uid, known] of Object.entries(outbox.known)) if (known) this.uidOf.set(known.id, uid);
  }

  get(uid) {
    return this.byUid.get(uid);
  }

  get shown() {
    return [...this.byUid.values()].filter((one) => one.standing !== "removed");
  }

  get toReview() {
    return this.shown.filter((one) => !one.reviewed).length;
  }

  // -- what the server has

  /** Take the complete list of the server. Captions with edits that wait stay as this window shows them. */
  load(rows) {
    const there = new Set();
    for (const row of rows) {
      const uid = this.#uid(row.id);
      there.add(uid);
      if (!this.outbox.touches(uid)) this.#take(uid, row);
      else if (!this.byUid.has(uid)) this.#show(uid, row);
    }
    for (const uid of this.byUid.keys()) {
      if (!there.has(uid) && !this.outbox.touches(uid)) this.byUid.delete(uid);
    }
    // A caption that an edit here merges with another is not shown again.
    for (const edit of this.outbox.edits) this.#apply(edit);
    this.sort();
    this.#keepTexts();
  }

  /** Take what edits of this window changed; `made` has the ids that the server gave to wanted captions. */
  settle(edit, made, changed, gone) {
    edit.wanted.forEach((wanted, at) => {
      if (made[at] === undefined) return;
      const before = this.outbox.known[wanted.uid];
      this.#name(wanted.uid, made[at]);
      const row = changed.find((one) => one.id === made[at]);
      this.outbox.known[wanted.uid] = { id: made[at], version: row ? row.version : before?.version };
    });
    if (!edit.wanted.length && edit.targets.length) {
      const uid = edit.targets[0];
      const known = this.outbox.known[uid];
      const row = changed.find((one) => one.id === known?.id);
      if (row) this.outbox.known[uid] = { id: row.id, version: row.version };
    }
    for (const id of gone) {
      const uid = this.uidOf.get(id);
      // Another caption of this window may have taken the name over.
      if (uid && this.outbox.known[uid]?.id === id && !this.outbox.touches(uid)) this.#drop(uid);
    }
  }

  /** Take the rows that an answer changed, as far as this window has no newer edits of them. */
  refresh(changed) {
    for (const row of changed) {
      const uid = this.#uid(row.id);
      const known = this.outbox.known[uid];
      if (!this.outbox.touches(uid)) this.#take(uid, row);
      else if (known && known.version === row.was) known.version = row.version;
    }
    this.sort();
  }

  #uid(id) {
    if (!this.uidOf.has(id)) this.uidOf.set(id, `c${id}`);
    return this.uidOf.get(id);
  }

  #name(uid, id) {
    const earlier = this.uidOf.get(id);
    if (earlier && earlier !== uid && !this.outbox.touches(earlier)) this.byUid.delete(earlier);
    this.uidOf.set(id, uid);
  }

  #drop(uid) {
    const known = this.outbox.known[uid];
    if (known) this.uidOf.delete(known.id);
    delete this.outbox.known[uid];
    this.byUid.delete(uid);
  }

  #take(uid, row) {
    this.outbox.known[uid] = { id: row.id, version: row.version };
    this.#show(uid, row);
  }

  #show(uid, row) {
    const caption = this.byUid.get(uid) ?? { uid };
    Object.assign(caption, {
      id: row.id,
      start: Math.round(row.start_seconds * 1000),
      end: Math.round(row.end_seconds * 1000),
      startIndex: row.start_index,
      endIndex: row.end_index,
      text: row.text,
      ocr: row.ocr_text ?? "",
      zone: row.zone,
      standing: row.standing,
      reviewed: row.reviewed,
      doubts: row.doubts,
      certainty: row.certainty,
      rolls: row.rolls,
      partial: row.partial,
    });
    this.byUid.set(uid, caption);
  }

  // -- edits of this window

  /** Make an edit: the captions `targets` become `wanted`. */
  edit(targets, wanted, { undoing = null } = {}) {
    const before = targets.map((uid) => ({ ...snapshot(this.get(uid)), standing: this.get(uid).standing }));
    const edit = { key: crypto.randomUUID(), targets: [...targets], wanted: wanted.map((one) => ({ ...one })) };
    const order = this.order.slice();
    this.#apply(edit);
    this.outbox.add(edit);
    const made = { before, after: edit.wanted };
    if (undoing === "undo") this.redoable.push(made);
    else this.undoable.push(made);
    if (undoing === null) this.redoable = [];
    this.#place(order, edit);
    this.dispatchEvent(new Event("edit"));
    return edit;
  }

  /** Take the last edit back, or make it again; return the uid of its caption. */
  undo() {
    return this.#turn(this.undoable, "undo");
  }

  redo() {
    return this.#turn(this.redoable, "redo");
  }

  #turn(stack, undoing) {
    const made = stack.pop();
    if (!made) return null;
    // What was removed is still there, and what was added stays as removed.
    const targets = (made.after.length ? made.after : made.before.slice(0, 1)).map((one) => one.uid);
    const isAsLeft = made.after.length
      ? made.after.every((one) => isAs(this.get(one.uid), one))
      : this.get(targets[0])?.standing === "removed";
    // To undo what someone else has changed since would undo their edit.
    if (!isAsLeft || targets.some((uid) => this.outbox.conflict(uid))) {
      return this.#turn(stack, undoing);
    }
    const wanted = made.before.filter((one) => one.standing !== "removed");
    this.edit(
      targets,
      wanted.map(({ standing, ...one }) => one),
      { undoing },
    );
    return wanted[0]?.uid ?? targets[0];
  }

  /** Forget an edit that was refused, and what depends on it; the next `load` shows the server's captions. */
  forget(edit) {
    const dropped = this.outbox.dropWithDependents(edit);
    for (const one of dropped) {
      for (const { uid } of one.wanted) if (!this.outbox.known[uid]) this.byUid.delete(uid);
    }
    this.undoable = [];
    this.redoable = [];
    return dropped;
  }

  /** Forget an edit that the server refuses. A text that was typed is kept where only the times were wrong. */
  refuse(edit) {
    for (const { targets, wanted } of this.forget(edit)) {
      const [one] = wanted;
      if (targets.length !== 1 || wanted.length !== 1 || targets[0] !== one.uid) continue;
      this.refused.set(one.uid, { ...one, version: this.outbox.known[one.uid]?.version });
    }
  }

  #keepTexts() {
    const refused = [...this.refused.values()];
    this.refused.clear();
    for (const { uid, start, end, text, version } of refused) {
      const caption = this.get(uid);
      const isUnchanged = caption && version && this.outbox.known[uid]?.version === version;
      const isMoved = isUnchanged && (caption.start !== start || caption.end !== end);
      if (isMoved && caption.text !== text) this.edit([uid], [{ ...snapshot(caption), text, reviewed: true }]);
    }
  }

  /** Show again what a conflict is about: the server's captions, or nothing where they are gone. */
  accept(edit) {
    const { current } = edit;
    this.forget(edit);
    for (const [id, row] of Object.entries(current)) {
      const uid = this.#uid(Number(id));
      if (row) this.#take(uid, row);
      else this.#drop(uid);
    }
    this.sort();
  }

  /** Make an edit on the captions as they are now, in spite of a conflict. */
  insist(edit) {
    const { current, targets } = edit;
    targets.forEach((uid) => {
      const known = this.outbox.known[uid];
      const row = known && current[known.id];
      if (row) known.version = row.version;
    });
    edit.targets = targets.filter((uid) => {
      const known = this.outbox.known[uid];
      return known && current[known.id] !== null;
    });
    delete edit.current;
    edit.state = "waiting";
    if (!edit.targets.length && edit.wanted.length !== 1) {
      // What was to be removed is gone already; what was to be split is added, each by itself.
      const adds = edit.wanted.map((one) => ({ ...edit, key: crypto.randomUUID(), wanted: [one] }));
      this.outbox.edits.splice(this.outbox.edits.indexOf(edit), 1, ...adds);
    }
    this.outbox.store();
  }

  #apply(edit) {
    const wanted = new Set(edit.wanted.map((one) => one.uid));
    if (!edit.wanted.length) {
      const caption = this.byUid.get(edit.targets[0]);
      if (caption) Object.assign(caption, { standing: "removed", reviewed: true, doubts: [] });
      return;
    }
    for (const uid of edit.targets) if (!wanted.has(uid)) this.byUid.delete(uid);
    const from = edit.targets.map((uid) => this.byUid.get(uid)).find(Boolean);
    for (const one of edit.wanted) {
      const caption = this.byUid.get(one.uid) ?? { uid: one.uid, ocr: "", doubts: [], certainty: 1 };
      const moved = caption.start !== one.start || caption.end !== one.end;
      Object.assign(caption, { zone: from?.zone ?? 0, rolls: false }, one, { standing: "shown" });
      if (one.zone === undefined) caption.zone = from?.zone ?? 0;
      if (moved) {
        caption.startIndex = this.footage.index(one.start);
        caption.endIndex = Math.max(caption.startIndex + 1, this.footage.index(one.end));
      }
      if (one.reviewed) caption.doubts = [];
      this.byUid.set(one.uid, caption);
    }
  }

  // -- order

  /** Choose the order: doubtful captions first, or by time. Doubtful ones keep their places while edited. */
  arrange(byDoubt) {
    this.byDoubt = byDoubt;
    this.order = [];
    this.sort();
  }

  #place(order, edit) {
    if (!this.byDoubt) return this.sort();
    const at = Math.max(0, order.findIndex((uid) => edit.targets.includes(uid)));
    const fresh = edit.wanted.map((one) => one.uid).filter((uid) => !order.includes(uid));
    order.splice(at + 1, 0, ...fresh);
    this.order = order.filter((uid) => this.byUid.has(uid));
    this.dispatchEvent(new Event("change"));
  }

  sort() {
    const byTime = (a, b) => a.start - b.start || a.end - b.end || (a.uid < b.uid ? -1 : 1);
    const all = [...this.byUid.values()];
    if (!this.byDoubt) {
      this.order = all.sort(byTime).map((one) => one.uid);
    } else if (!this.order.length) {
      const rank = (one) => (one.reviewed ? 2 : one.doubts.length ? 0 : 1);
      const doubt = (one) => (rank(one) ? 0 : one.certainty);
      this.order = all.sort((a, b) => rank(a) - rank(b) || doubt(a) - doubt(b) || byTime(a, b)).map((o) => o.uid);
    } else {
      const placed = new Set(this.order);
      const fresh = all.filter((one) => !placed.has(one.uid)).sort(byTime);
      this.order = [...this.order.filter((uid) => this.byUid.has(uid)), ...fresh.map((one) => one.uid)];
    }
    this.dispatchEvent(new Event("change"));
  }

  /** The uids that the list shows, in its order. */
  get visible() {
    return this.order.filter((uid) => {
      const one = this.byUid.get(uid);
      if (this.filter === "removed") return one.standing === "removed";
      if (one.standing === "removed") return false;
      return this.filter !== "review" || !one.reviewed || this.outbox.conflict(uid);
    });
  }

  /** The neighbours in time, in the same zone. */
  neighbours(uid) {
    const here = this.get(uid);
    const zone = this.shown.filter((one) => one.zone === here.zone && one.uid !== uid);
    const before = zone.filter((one) => one.start < here.start || (one.start === here.start && one.end < here.end));
    const after = zone.filter((one) => !before.includes(one));
    const last = (list) => list.reduce((best, one) => (!best || one.start > best.start ? one : best), null);
    const first = (list) => list.reduce((best, one) => (!best || one.start < best.start ? one : best), null);
    return { previous: last(before), next: first(after) };
  }
}
