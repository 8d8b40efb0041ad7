// Sends waiting edits, and hears of other people's changes. Nothing here waits for a key press, or makes one wait.

const RETRY_MS = [500, 1000, 2000, 4000];
/** The list is fetched at most once in this time, and so often while events do not arrive. */
const LOOK_MS = 4000;
/** The time in which a change is shown that is not this window's own. */
const SOON_MS = 200;
/** Events of an edit of this window come within this time. */
const OWN_MS = 3000;
/** A stream may be dead without a sign of it. */
const SILENT_MS = 60000;
/** Most edits of one request. */
const MOST = 200;

export class Sync extends EventTarget {
  /** `events`: the live events of the video; without them, the page asks every few seconds. */
  constructor(videoId, captions, events = null) {
    super();
    this.base = `/videos/${videoId}`;
    this.captions = captions;
    this.tag = null;
    this.failures = 0;
    this.requests = 0;
    this.most = MOST;
    this.state = { kind: "saved" };
    this.looked = this.sent = -LOOK_MS;
    captions.addEventListener("edit", () => this.send());
    addEventListener("online", () => this.send());
    document.addEventListener("visibilitychange", () => this.look());
    this.#listen(events);
  }

  #listen(events) {
    const soon = () => this.#lookSoon();
    for (const kind of ["ready", "reset", "video", "captions"]) events?.addEventListener(kind, soon);
    events?.addEventListener("lock", ({ detail }) => detail.database === "captions" && soon());
    setInterval(() => {
      const isHeard = events?.isOpen && performance.now() - this.looked < SILENT_MS;
      if (!isHeard || this.state.kind === "offline" || this.state.kind === "signed out") this.look();
    }, LOOK_MS);
  }

  #lookSoon() {
    const now = performance.now();
    const isOwn = this.busy || now - this.sent < OWN_MS;
    const at = isOwn ? Math.max(now, this.looked) + LOOK_MS : Math.max(now + SOON_MS, this.looked + 5 * SOON_MS);
    if (this.next && this.next <= at) return;
    clearTimeout(this.lookTimer);
    this.next = at;
    this.lookTimer = setTimeout(() => this.look(), at - now);
  }

  /** Fetch the list; null if it has not changed. */
  async fetch(force = false) {
    const headers = this.tag && !force ? { "if-none-match": this.tag } : {};
    const answer = await fetch(`${this.base}/captions?order=time`, { headers, cache: "no-store" });
    if (answer.status === 304) return null;
    if (!answer.ok) throw await problem(answer);
    this.tag = answer.headers.get("etag");
    return answer.json();
  }

  async look(force = false) {
    this.next = null;
    clearTimeout(this.lookTimer);
    if (document.hidden && !force) return;
    if (this.busy && !force) return this.#lookSoon();
    this.looked = performance.now();
    const { requests } = this;
    try {
      const list = await this.fetch(force);
      // An answer from before an edit was sent would show the caption as it was.
      if (list && !this.busy && requests === this.requests) this.dispatchEvent(new CustomEvent("list", { detail: list }));
      else if (list) {
        this.tag = null;
        this.#lookSoon();
      }
      if (this.state.kind === "offline" && !this.captions.outbox.count) this.#show({ kind: "saved" });
    } catch (error) {
      if (!this.captions.outbox.count) this.#show(stateOf(error));
    }
  }

  /** Send what waits, until nothing does. */
  async send() {
    if (this.busy) return;
    const ready = this.captions.outbox.ready(this.most);
    if (!ready.length) return this.#rest();
    this.busy = true;
    this.sent = performance.now();
    this.requests += 1;
    clearTimeout(this.timer);
    if (this.state.kind === "saved" || this.state.kind === "conflict") this.#show({ kind: "saving" });
    ready.forEach((edit) => (edit.state = "sent"));
    try {
      const answer = await fetch(`${this.base}/captions/edits`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ edits: ready.map((edit) => this.#asked(edit)) }),
      });
      if (!answer.ok) throw await problem(answer);
      this.failures = 0;
      this.#take(ready, await answer.json());
      this.busy = false;
      this.send();
    } catch (error) {
      ready.forEach((edit) => (edit.state = "waiting"));
      this.busy = false;
      this.#failed(error, ready);
    }
  }

  #asked(edit) {
    const { known } = this.captions.outbox;
    return {
      key: edit.key,
      captions: edit.targets.map((uid) => known[uid]),
      wanted: edit.wanted.map((one) => ({
        start_seconds: one.start / 1000,
        end_seconds: one.end / 1000,
        text: one.text,
        zone: one.zone ?? null,
        reviewed: one.reviewed,
      })),
    };
  }

  #take(sent, answer) {
    const { outbox } = this.captions;
    const refused = [];
    for (const result of answer.edits) {
      const edit = sent.find((one) => one.key === result.key);
      if (result.status === "done") {
        outbox.remove(edit);
        this.captions.settle(edit, result.made, answer.changed, answer.gone);
      } else if (result.status === "conflict") {
        Object.assign(edit, { state: "conflict", current: result.current });
      } else {
        refused.push({ edit, message: result.message });
      }
    }
    this.captions.refresh(answer.changed);
    outbox.store();
    refused.forEach(({ edit, message }) => this.#refuse(edit, message));
    if (outbox.conflicts.length) this.dispatchEvent(new Event("conflict"));
    this.tag = null;
  }

  #failed(error, ready) {
    const state = stateOf(error);
    if (state.kind === "refused") {
      // One edit that the server does not accept must not take the others with it.
      if (ready.length > 1) this.most = 1;
      else this.#refuse(ready[0], state.message);
      return this.send();
    }
    this.#show(state);
    const pause = RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)];
    this.failures += 1;
    this.timer = setTimeout(() => this.send(), pause);
  }

  /** Give an edit up: sending it again would not help. */
  #refuse(edit, message) {
    this.captions.refuse(edit);
    this.dispatchEvent(new CustomEvent("refused", { detail: { edit, message } }));
    this.look(true);
  }

  #rest() {
    const { outbox } = this.captions;
    this.most = MOST;
    this.#show({ kind: outbox.conflicts.length ? "conflict" : outbox.count ? "saving" : "saved" });
  }

  #show(state) {
    this.state = { ...state, waiting: this.captions.outbox.count };
    this.dispatchEvent(new CustomEvent("state", { detail: this.state }));
  }
}

/** An answer that is an error, with what the server says. */
export class ProblemError extends Error {
  constructor(status, body) {
    super(body.detail ?? `the server answered ${status}`);
    this.status = status;
    this.reason = body.reason ?? "";
    this.body = body;
  }
}

export async function problem(answer) {
  return new ProblemError(answer.status, await answer.json().catch(() => ({})));
}

/** Return what a failed request means: `locked` and `offline` end by themselves. */
export function stateOf(error) {
  if (!(error instanceof ProblemError)) return { kind: "offline", message: "the server does not answer" };
  if (error.reason === "lock_held" || error.reason === "lock_lost") return { kind: "locked", message: error.message };
  if (error.status === 401 || error.status === 403) return { kind: "signed out", message: error.message };
  if (error.status >= 500 || error.status === 408 || error.status === 429) {
    return { kind: "offline", message: error.message };
  }
  return { kind: "refused", message: error.message };
}
