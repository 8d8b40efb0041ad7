// The service's live events (`GET /events`), for one video or for all.
//
// The browser connects again by itself after a lost connection, and sends the id of the last event. After a
// refusal it does not: this does, later. A hidden page closes its stream, because a browser opens only six
// connections to a host for all its windows, and takes up again where it was.

const KINDS = ["ready", "reset", "video", "progress", "layout", "captions", "lock", "job"];
const AGAIN_MS = 5000;

export class LiveEvents extends EventTarget {
  constructor(videoId = null) {
    super();
    this.videoId = videoId;
    this.lastId = null;
    /** Whether events arrive; while they do not, a page has to ask. */
    this.isOpen = false;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#close() : this.#open()));
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => event.persisted && this.#open());
    if (!document.hidden) this.#open();
  }

  #open() {
    if (this.source) return;
    clearTimeout(this.timer);
    const query = new URLSearchParams();
    if (this.videoId) query.set("video_id", this.videoId);
    if (this.lastId) query.set("after", this.lastId);
    this.source = new EventSource(`/events?${query}`);
    for (const kind of KINDS) this.source.addEventListener(kind, (event) => this.#hear(kind, event));
    this.source.addEventListener("error", () => this.#lost());
  }

  #hear(kind, event) {
    this.isOpen = true;
    if (event.lastEventId) this.lastId = event.lastEventId;
    this.dispatchEvent(new CustomEvent(kind, { detail: JSON.parse(event.data) }));
  }

  #lost() {
    this.isOpen = false;
    if (this.source.readyState !== EventSource.CLOSED) return;
    this.#close();
    this.timer = setTimeout(() => document.hidden || this.#open(), AGAIN_MS);
  }

  #close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    this.isOpen = false;
  }
}

/** Call `look` after events of these kinds, at most once in `gap` ms, and so often while none arrive. */
export function lookAfter(events, kinds, look, gap) {
  let timer = null;
  let last = -gap;
  const run = () => {
    timer = null;
    last = performance.now();
    look();
  };
  const soon = () => {
    timer ??= setTimeout(run, Math.max(200, last + gap - performance.now()));
  };
  for (const kind of kinds) events.addEventListener(kind, soon);
  setInterval(() => events.isOpen || timer || run(), gap);
}
