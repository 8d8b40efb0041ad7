// The captions page's model and outbox, without a browser: what a person typed is never lost.

import assert from "node:assert/strict";
import test, { mock } from "node:test";

const STATIC = new URL("../../captionacc_dagster/web/service/pages/static/captions/", import.meta.url);
const stored = new Map();
globalThis.localStorage = {
  getItem: (key) => stored.get(key) ?? null,
  setItem: (key, value) => stored.set(key, value),
  removeItem: (key) => stored.delete(key),
};
globalThis.document = new EventTarget();
globalThis.addEventListener = () => {};
let tick = null;
globalThis.setInterval = (every) => (tick = every);
globalThis.location = new URL("http://localhost/");

const { Captions, snapshot } = await import(new URL("model.js", STATIC));
const { Outbox } = await import(new URL("outbox.js", STATIC));
const { Sync } = await import(new URL("sync.js", STATIC));
const { Footage } = await import(new URL("times.js", STATIC));
const { LiveEvents } = await import(new URL("../events.js", STATIC));
const { WorkBar } = await import(new URL("../progress.js", STATIC));
const { Find } = await import(new URL("find.js", STATIC));

const FACTS = { cropped_frames_version: 1, frame_count: 100, duration_seconds: 10, zones: [0], time_spans: [] };

/** A row of the server's list; a version changes with what is seen. */
function row(id, text, start = id * 2 - 2, end = id * 2 - 1) {
  return {
    id, text, version: `${id} ${text} ${start} ${end}`, start_seconds: start, end_seconds: end, start_index: start * 10,
    end_index: end * 10, ocr_text: text, zone: 0, standing: "shown", reviewed: false, doubts: [], certainty: 1,
  };
}

function opened(rows, key = crypto.randomUUID()) {
  const captions = new Captions(new Footage(FACTS), new Outbox(key));
  captions.load(rows);
  return captions;
}

const retype = (captions, uid, text, times = {}) =>
  captions.edit([uid], [{ ...snapshot(captions.get(uid)), text, ...times, reviewed: true }]);
const texts = (captions) => captions.shown.sort((a, b) => a.start - b.start).map((one) => one.text);

test("a caption that a waiting edit merges stays merged when the list comes again", () => {
  const rows = [row(1, "a"), row(2, "b"), row(3, "c")];
  const captions = opened(rows);
  captions.edit(["c1", "c2"], [{ ...snapshot(captions.get("c1")), end: 3000, text: "a b" }]);
  captions.load(rows);
  assert.deepEqual(texts(captions), ["a b", "c"]);
});

test("undo leaves alone what someone else has changed since", () => {
  const captions = opened([row(1, "a"), row(2, "b")]);
  const edit = retype(captions, "c1", "mine");
  captions.outbox.remove(edit);
  captions.load([row(1, "theirs"), row(2, "b")]);
  assert.equal(captions.undo(), null);
  assert.deepEqual(texts(captions), ["theirs", "b"]);
  retype(captions, "c2", "mine");
  assert.equal(captions.undo(), "c2");
  assert.deepEqual(texts(captions), ["theirs", "b"]);
});

test("of an edit whose times are refused the text is kept", () => {
  const rows = [row(1, "a"), row(2, "b")];
  const captions = opened(rows);
  captions.refuse(retype(captions, "c1", "typed", { end: 2500 }));
  captions.load(rows);
  assert.deepEqual([captions.get("c1").text, captions.get("c1").end], ["typed", 1000]);
  assert.equal(captions.outbox.count, 1);
  captions.refuse(captions.outbox.edits[0]);
  captions.load(rows);
  assert.equal(captions.outbox.count, 0);
});

test("what depends on a refused edit goes with it, and nothing else", () => {
  const captions = opened([row(1, "a b c"), row(2, "d")]);
  const [a, b, c] = ["c1", "n1", "n2"].map((uid, at) => ({
    ...snapshot(captions.get("c1")), uid, start: at * 300, end: at * 300 + 300, text: uid,
  }));
  const first = captions.edit(["c1"], [a, { ...b, end: 1000 }]);
  captions.edit(["n1"], [b, c]);
  retype(captions, "n2", "typed");
  retype(captions, "c2", "kept");
  captions.refuse(first);
  assert.deepEqual(captions.outbox.edits.map((one) => one.wanted[0].text), ["kept"]);
});

test("a split of a caption that is gone adds its parts one by one", () => {
  const captions = opened([row(1, "a b")]);
  const part = (uid, start) => ({ ...snapshot(captions.get("c1")), uid, start, end: start + 500, text: uid });
  const edit = captions.edit(["c1"], [part("c1", 0), part("n1", 500)]);
  captions.insist(Object.assign(edit, { state: "conflict", current: { 1: null } }));
  const ready = captions.outbox.ready(200);
  assert.deepEqual(ready.map((one) => [one.targets, one.wanted.map((w) => w.uid)]), [[[], ["c1"]], [[], ["n1"]]]);
});

test("what another window left waits while this one has edits of the same captions", () => {
  const rows = [row(1, "a"), row(2, "b")];
  const left = opened(rows, "left");
  retype(left, "c1", "left");
  left.outbox.setDraft({ uid: "c2", text: "half" });
  const here = opened(rows, "here");
  retype(here, "c1", "here");
  here.outbox.adopt("left");
  assert.deepEqual(here.outbox.edits.map((one) => one.wanted[0].text), ["here"]);
  const later = new Outbox("later");
  later.adopt("left");
  assert.deepEqual([later.edits[0].wanted[0].text, later.draft.text, stored.has("left")], ["left", "half", false]);
});

const json = (body, status = 200) => new Response(JSON.stringify(body), { status });
const until = async (is) => {
  while (!is()) await new Promise((done) => setImmediate(done));
};

test("an edit that the server does not accept takes no other with it", async () => {
  const captions = opened([row(1, "a"), row(2, "b"), row(3, "c")]);
  const asked = [];
  globalThis.fetch = async (url, { body } = {}) => {
    if (!body) return new Response(null, { status: 304 });
    const { edits } = JSON.parse(body);
    asked.push(edits.length);
    if (edits.some((one) => one.wanted[0].text === "bad")) return json({ detail: "too long" }, 422);
    const done = edits.map((one) => ({ key: one.key, status: "done", made: [one.captions[0].id] }));
    return json({ edits: done, changed: [], gone: [] });
  };
  const sync = new Sync("video", captions);
  sync.busy = true;
  ["one", "bad", "three"].forEach((text, at) => retype(captions, `c${at + 1}`, text));
  sync.busy = false;
  sync.send();
  await until(() => !captions.outbox.count);
  assert.deepEqual(asked, [3, 1, 1, 1]);
});

test("a list from before an edit was saved is not shown", async () => {
  const captions = opened([row(1, "a")]);
  let answerList;
  globalThis.fetch = (url, { body } = {}) => {
    if (!body) return new Promise((done) => (answerList = () => done(json({ captions: [row(1, "a")] }))));
    const [{ key }] = JSON.parse(body).edits;
    const changed = [{ ...row(1, "new"), was: row(1, "a").version }];
    return Promise.resolve(json({ edits: [{ key, status: "done", made: [1] }], changed, gone: [] }));
  };
  const sync = new Sync("video", captions);
  const lists = [];
  sync.addEventListener("list", (event) => lists.push(event));
  const look = sync.look();
  retype(captions, "c1", "new");
  await until(() => !captions.outbox.count && !sync.busy);
  answerList();
  await look;
  assert.deepEqual([lists, captions.get("c1").text, sync.tag], [[], "new", null]);
});

test("the list is fetched after an event, and now and then while none can arrive", async () => {
  const captions = opened([row(1, "a")]);
  let fetched = 0;
  globalThis.fetch = async () => {
    fetched += 1;
    return new Response(null, { status: 304 });
  };
  const events = Object.assign(new EventTarget(), { isOpen: true });
  new Sync("video", captions, events);
  const hear = (kind, detail = {}) => events.dispatchEvent(new CustomEvent(kind, { detail }));
  for (let turn = 0; turn < 3; turn += 1) hear("captions", { partial: true });
  assert.equal(fetched, 0);
  await until(() => fetched === 1);
  hear("lock", { database: "layout" });
  tick();
  await new Promise((done) => setTimeout(done, 300));
  assert.equal(fetched, 1);
  events.isOpen = false;
  tick();
  await until(() => fetched === 2);
});

class Source extends EventTarget {
  static CLOSED = 2;
  static all = [];
  constructor(url) {
    super();
    Object.assign(this, { url, readyState: 1 });
    Source.all.push(this);
  }
  close() {
    this.readyState = 2;
  }
  hear(kind, data, lastEventId = "") {
    this.dispatchEvent(Object.assign(new Event(kind), { data: JSON.stringify(data), lastEventId }));
  }
}

test("a hidden page has no stream, and a stream goes on where it was", () => {
  globalThis.EventSource = Source;
  Source.all = [];
  const events = new LiveEvents("v1");
  const heard = [];
  events.addEventListener("captions", ({ detail }) => heard.push(detail.version));
  const [first] = Source.all;
  assert.deepEqual([first.url, events.isOpen], ["/events?video_id=v1", false]);
  first.hear("ready", { after: "7-0" }, "7-0");
  first.hear("captions", { version: 3 }, "8-1");
  assert.deepEqual([heard, events.isOpen], [[3], true]);
  const show = (hidden) => {
    document.hidden = hidden;
    document.dispatchEvent(new Event("visibilitychange"));
  };
  show(true);
  assert.deepEqual([first.readyState, events.isOpen], [2, false]);
  show(false);
  assert.deepEqual([Source.all.length, Source.all[1].url], [2, "/events?video_id=v1&after=8-1"]);
});

test("after a refusal, a stream is opened again later", () => {
  globalThis.EventSource = Source;
  Source.all = [];
  mock.timers.enable({ apis: ["setTimeout"] });
  const events = new LiveEvents();
  const [first] = Source.all;
  first.hear("ready", { after: "7-0" }, "7-0");
  // The browser connects again by itself.
  first.readyState = 0;
  first.dispatchEvent(new Event("error"));
  assert.equal(events.isOpen, false);
  mock.timers.tick(60000);
  assert.equal(Source.all.length, 1);
  first.readyState = Source.CLOSED;
  first.dispatchEvent(new Event("error"));
  mock.timers.tick(4999);
  assert.equal(Source.all.length, 1);
  mock.timers.tick(1);
  assert.deepEqual([Source.all.length, Source.all[1].url], [2, "/events?after=7-0"]);
  mock.timers.reset();
});

test("the bar of a run ends with the run", () => {
  const parts = { progress: {}, span: {} };
  const box = { hidden: true, querySelector: (name) => parts[name] };
  const events = new EventTarget();
  const hear = (kind, detail = {}) => events.dispatchEvent(new CustomEvent(kind, { detail }));
  const stages = (layout, text) => ({ layout: { run_id: layout }, text: { run_id: text } });
  new WorkBar(box, events, ["layout"]);
  hear("progress", { stage: "text", percent: 10, message: "download" });
  assert.equal(box.hidden, true);
  hear("progress", { stage: "layout", percent: 52, message: "frames 11 of 30" });
  assert.deepEqual([box.hidden, parts.progress.value, parts.span.textContent], [false, 52, "52 % · frames 11 of 30"]);
  hear("video", stages("run", null));
  assert.equal(box.hidden, false);
  hear("video", stages(null, "another"));
  assert.equal(box.hidden, true);
  hear("progress", { stage: "layout", percent: 90, message: "upload" });
  // The end of the run was missed while there was no connection.
  hear("ready");
  assert.equal(box.hidden, true);
});

test("nothing is replaced before captions can be corrected, and nothing is said to be", () => {
  const captions = opened([row(1, "a tide"), row(2, "b tide")]);
  const box = (value) => ({ value, checked: false });
  const elements = { find: box("tide"), replacement: box("flood"), expression: box(), matchcase: box() };
  const form = Object.assign(new EventTarget(), { elements, querySelector: () => ({}) });
  const dialog = Object.assign(new EventTarget(), { querySelector: () => form });
  const said = [];
  const find = new Find(dialog, captions, { select() {}, announce: (words) => said.push(words), commit() {} });
  Object.assign(find, { current: () => "c1", canChange: () => false, change: (uid, text) => retype(captions, uid, text) });
  find.all();
  find.replace();
  assert.deepEqual([texts(captions), said], [["a tide", "b tide"], []]);
  find.canChange = () => true;
  find.all();
  assert.deepEqual([texts(captions), said], [["a flood", "b flood"], ["2 captions were changed."]]);
});
