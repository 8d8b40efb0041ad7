// Edits that the server does not have yet, kept in the browser: a reload or a lost network loses none.
//
// Each window has its own outbox. A window that starts takes over those of windows that are gone.

const PREFIX = "captionacc.outbox.";

/** Open the outbox of this window for a video, with what windows that are gone left behind. */
export async function openOutbox(videoId) {
  const window = await windowName();
  const outbox = new Outbox(`${PREFIX}${videoId}.${window}`);
  const held = navigator.locks ? (await navigator.locks.query()).held.map((lock) => lock.name) : [];
  for (const key of Object.keys(localStorage)) {
    const name = key.slice(`${PREFIX}${videoId}.`.length);
    const isOthers = key.startsWith(`${PREFIX}${videoId}.`) && name !== window;
    if (isOthers && !held.includes(lockName(name))) outbox.adopt(key);
  }
  return outbox;
}

const lockName = (name) => `captionacc.window.${name}`;

/** Return a name that no other open window has; a reload keeps it. */
async function windowName() {
  let name = sessionStorage.getItem("captionacc.window") ?? crypto.randomUUID();
  // A duplicated window copies the session's storage.
  while (!(await hold(lockName(name)))) name = crypto.randomUUID();
  sessionStorage.setItem("captionacc.window", name);
  return name;
}

/** Hold a lock until this window is gone; return whether it was free. */
function hold(name) {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((answer) => {
    navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      answer(lock !== null);
      return lock ? new Promise(() => {}) : undefined;
    });
  });
}

export class Outbox {
  constructor(key) {
    this.key = key;
    /** Edits in their order. `state`: waiting, sent, conflict. */
    this.edits = [];
    /** The id and version on the server of each caption, as this window has seen it. */
    this.known = {};
    this.draft = null;
    this.#read(key);
  }

  #read(key) {
    const stored = this.#stored(key);
    if (!stored) return;
    this.edits.push(...stored.edits.map((one) => (one.state === "sent" ? { ...one, state: "waiting" } : one)));
    this.known = { ...stored.known, ...this.known };
    this.draft ??= stored.draft;
  }

  #stored(key) {
    try {
      return JSON.parse(localStorage.getItem(key) ?? "null");
    } catch {
      // Another program wrote it; there is nothing to take over.
      return null;
    }
  }

  /** Take over what another window left; not yet if this window has edits of the same captions, or a draft too. */
  adopt(key) {
    const stored = this.#stored(key);
    if (stored?.draft && this.draft) return;
    if (uidsOf(stored?.edits ?? [], stored?.draft).some((uid) => this.touches(uid))) return;
    this.#read(key);
    this.store();
    localStorage.removeItem(key);
  }

  get count() {
    return this.edits.length;
  }

  get conflicts() {
    return this.edits.filter((one) => one.state === "conflict");
  }

  /** Whether an edit or an unfinished text of this window is about a caption. */
  touches(uid) {
    return this.draft?.uid === uid || this.edits.some((edit) => isAbout(edit, uid));
  }

  conflict(uid) {
    return this.edits.find((edit) => edit.state === "conflict" && isAbout(edit, uid));
  }

  add(edit) {
    edit.state = "waiting";
    const last = this.edits.findLast((one) => edit.targets.some((uid) => isAbout(one, uid)));
    if (last && last.state === "waiting" && isSame(last, edit)) {
      last.wanted = edit.wanted;
    } else {
      this.edits.push(edit);
    }
    this.store();
  }

  setDraft(draft) {
    this.draft = draft;
    this.store();
  }

  /** The edits that can be sent now, at most `most`: none that follows another one of the same caption. */
  ready(most) {
    const taken = new Set();
    const found = [];
    for (const edit of this.edits) {
      const about = uidsOf([edit]);
      if (edit.state === "waiting" && !about.some((uid) => taken.has(uid))) found.push(edit);
      about.forEach((uid) => taken.add(uid));
    }
    return found.slice(0, most);
  }

  remove(edit) {
    this.edits = this.edits.filter((one) => one !== edit);
    this.store();
  }

  dropWithDependents(edit) {
    const about = new Set(uidsOf([edit]));
    const dropped = this.edits.slice(this.edits.indexOf(edit)).filter((one) => {
      const uids = uidsOf([one]);
      const depends = uids.some((uid) => about.has(uid));
      // Captions that only a dropped edit makes will not be there.
      if (depends) uids.filter((uid) => !this.known[uid]).forEach((uid) => about.add(uid));
      return depends;
    });
    this.edits = this.edits.filter((one) => !dropped.includes(one));
    this.store();
    return dropped;
  }

  /** Write it to the browser's storage: only what the waiting edits need. */
  store() {
    if (!this.edits.length && !this.draft) {
      localStorage.removeItem(this.key);
      return;
    }
    const uids = uidsOf(this.edits, this.draft).filter((uid) => this.known[uid]);
    const known = Object.fromEntries(uids.map((uid) => [uid, this.known[uid]]));
    localStorage.setItem(this.key, JSON.stringify({ edits: this.edits, known, draft: this.draft }));
  }
}

/** The captions that edits and an unfinished text are about. */
function uidsOf(edits, draft = null) {
  const uids = edits.flatMap((edit) => [...edit.targets, ...edit.wanted.map((one) => one.uid)]);
  return draft ? [...uids, draft.uid] : uids;
}

const isAbout = (edit, uid) => edit.targets.includes(uid) || edit.wanted.some((one) => one.uid === uid);

/** Whether a later edit of one caption may take the place of an earlier one that was not sent. */
function isSame(earlier, later) {
  const single = (edit) => edit.targets.length === 1 && edit.wanted.length === 1;
  return single(later) && single(earlier) && earlier.targets[0] === later.targets[0];
}
