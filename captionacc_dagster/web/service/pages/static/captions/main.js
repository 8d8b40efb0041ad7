// The page where a video's captions are corrected. Every action has a key; see the dialog `keys`.

import { LiveEvents } from "../events.js";
import { WorkBar } from "../progress.js";
import { Editor } from "./editor.js";
import { Find } from "./find.js";
import { CaptionList } from "./list.js";
import { Captions, snapshot } from "./model.js";
import { openOutbox } from "./outbox.js";
import { Player } from "./player.js";
import { Sync, problem } from "./sync.js";
import { Footage, clock } from "./times.js";

const root = document.body;
const videoId = root.dataset.video;
const part = (name) => document.querySelector(`[data-part="${name}"]`);

class Review {
  constructor(list, outbox, events) {
    this.captions = new Captions(new Footage(list.footage), outbox);
    this.sync = new Sync(videoId, this.captions, events);
    new WorkBar(part("work"), events, ["layout", "boundaries", "text"]);
    const url = (path, zone) => {
      const { version } = this.captions.footage;
      return `/videos/${videoId}/${path}${path.includes("?") ? "&" : "?"}zone=${zone}&version=${version}`;
    };
    this.player = new Player(part("screen"), part("line"), this.captions, url);
    this.list = new CaptionList(part("rows"), this.captions);
    this.editor = new Editor(part("editor"), this.captions, this.player, url);
    this.find = new Find(part("find"), this.captions, {
      select: (uid, wanted) => this.#selectFound(uid, wanted),
      announce: (message) => this.say(message),
      commit: () => this.editor.commit(),
    });
    this.find.current = () => this.editor.uid;
    this.find.canChange = () => this.#canEdit();
    this.find.change = (uid, text) => {
      const caption = this.captions.get(uid);
      this.captions.edit([uid], text.trim() ? [{ ...snapshot(caption), text, reviewed: true }] : []);
    };
    this.#listen();
    this.take(list);
  }

  // -- the server's news

  take(list) {
    const wasOpen = this.editor.uid;
    this.isPartial = list.partial;
    this.isFinished = list.finished;
    this.isEditable = list.editable;
    this.editor.text.readOnly = !list.editable;
    this.captions.footage = new Footage(list.footage);
    this.captions.load(list.captions);
    part("name").textContent = list.name;
    document.title = `${list.name}: captions`;
    const partial = part("partial");
    const notices = [];
    if (list.partial) {
      const what = list.working.length ? `A run works on this video (${list.working.join(", ")})` : "This video is not finished";
      const until = list.editable ? "" : " Captions can be corrected when all are found.";
      notices.push(`${what}: this is what is ready so far.${until}`);
    }
    if (list.locked_by) notices.push(`${holder(list.locked_by)} writes these captions: edits wait here until then.`);
    partial.hidden = !notices.length;
    if (partial.textContent !== notices.join(" ")) partial.textContent = notices.join(" ");
    if (!this.captions.get(wasOpen)) this.select(this.#first());
    else this.editor.refresh();
  }

  #first() {
    const { draft } = this.captions.outbox;
    const asked = location.hash.slice(1);
    const order = this.captions.visible;
    if (draft && this.captions.get(draft.uid)) return draft.uid;
    if (order.includes(asked)) return asked;
    return order.find((uid) => !this.captions.get(uid).reviewed) ?? order[0] ?? null;
  }

  #listen() {
    const { captions, sync, editor, list, player } = this;
    captions.addEventListener("change", () => this.refresh());
    sync.addEventListener("list", (event) => this.take(event.detail));
    sync.addEventListener("state", (event) => this.#showState(event.detail));
    sync.addEventListener("conflict", () => this.refresh());
    sync.addEventListener("refused", ({ detail }) => {
      this.say(`Not changed: ${detail.message}`, "bad");
      this.refresh();
    });
    editor.addEventListener("say", (event) => this.say(event.detail));
    list.addEventListener("choose", (event) => this.select(event.detail));
    player.addEventListener("move", () => {
      part("position").textContent = clock(player.position).slice(0, -1);
    });
    player.addEventListener("state", () => {
      part("play").setAttribute("aria-pressed", String(player.isPlaying));
    });
    document.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("click", (event) => {
      const button = event.target.closest("[data-do]");
      if (button) this.do(button.dataset.do, event.shiftKey);
    });
    part("order").addEventListener("change", (event) => {
      captions.arrange(event.target.value === "doubtful");
      this.select(this.#first());
    });
    part("filter").addEventListener("change", (event) => {
      captions.filter = event.target.value;
      this.refresh();
      const order = captions.visible;
      if (!order.includes(editor.uid)) this.select(order[0] ?? null);
    });
    part("import").addEventListener("change", (event) => this.#import(event.target));
  }

  refresh() {
    const { captions } = this;
    this.list.refresh();
    this.editor.refresh();
    const all = captions.shown.length;
    const left = captions.toReview;
    part("progress").textContent = all ? `${left} of ${all} to review` : "no captions yet";
    part("bar").value = all ? (all - left) / all : 0;
    const finish = part("finish");
    finish.hidden = !all || left > 0 || this.isPartial;
    finish.disabled = this.isFinished;
    finish.firstElementChild.textContent = this.isFinished ? "Review finished" : "Finish the review";
    const removed = captions.byUid.size - all;
    part("filter").querySelector("[value=removed]").textContent = `removed (${removed})`;
    part("empty").hidden = captions.visible.length > 0;
    part("empty").textContent = this.isPartial ? "Captions appear here as they are found." : "There are no captions here.";
  }

  say(message, kind = "") {
    const box = part("message");
    box.textContent = message;
    box.className = `message ${kind}`;
    clearTimeout(this.saying);
    this.saying = setTimeout(() => (box.textContent = ""), kind ? 12000 : 4000);
  }

  #showState(state) {
    const waiting = `${state.waiting} ${state.waiting === 1 ? "edit waits" : "edits wait"}`;
    const words = {
      saved: "All saved",
      saving: "Saving…",
      conflict: "Someone else changed a caption that you edited: choose a text",
      locked: `${waiting} here and will be saved when the captions are free: ${state.message}`,
      offline: `${waiting} in this browser: ${state.message}`,
      "signed out": `${waiting} in this browser: ${state.message}`,
    };
    const box = part("save");
    if (box.textContent !== words[state.kind]) box.textContent = words[state.kind] ?? "";
    box.dataset.kind = state.kind;
  }

  // -- actions

  select(uid, options) {
    part("editor").classList.toggle("vacant", !uid);
    this.editor.open(uid, options);
    this.list.select(uid);
    if (!uid) return;
    history.replaceState(null, "", `#${uid}`);
    if (!part("find").contains(document.activeElement)) this.editor.text.focus();
  }

  /** Go to the caption before or after this one in the list's order. */
  go(by) {
    const order = this.captions.visible;
    const here = order.indexOf(this.editor.uid);
    const uid = order[Math.min(order.length - 1, Math.max(0, here + by))];
    if (uid) this.select(uid);
  }

  /** Return the next caption in the list's order that nobody has reviewed; after the last one, the first. */
  #nextToReview() {
    const order = this.captions.visible;
    const here = order.indexOf(this.editor.uid);
    const round = [...order.slice(here + 1), ...order.slice(0, Math.max(0, here))];
    return round.find((one) => !this.captions.get(one).reviewed);
  }

  #allReviewed() {
    this.say("All captions are reviewed. Ctrl Enter finishes the review, when nothing is left to change.", "good");
    if (this.captions.visible.includes(this.editor.uid)) this.editor.open(this.editor.uid);
    this.refresh();
  }

  /** Record that a person has reviewed times and texts. */
  async #finish() {
    this.editor.commit();
    if (this.isFinished) return;
    if (part("finish").hidden) return this.say("Not everything is reviewed yet.");
    if (this.captions.outbox.count) return this.say("Some edits are not saved yet: try again when they are.", "bad");
    try {
      for (const stage of ["boundaries", "text"]) {
        const answer = await fetch(`/videos/${videoId}/actions/complete-review/${stage}`, { method: "POST" });
        if (!answer.ok) throw await problem(answer);
      }
      this.say("The review is finished.", "good");
      await this.sync.look(true);
    } catch (error) {
      this.say(error.message, "bad");
    }
  }

  /** Return whether captions can be corrected; if not, say so. */
  #canEdit() {
    if (!this.isEditable) this.say("Captions can be corrected when all are found.");
    return this.isEditable;
  }

  do(action, shift = false) {
    const { editor, captions, player } = this;
    if (!READS.has(action) && !this.#canEdit()) return;
    const actions = {
      confirm: () => {
        const next = this.#nextToReview();
        editor.confirm();
        if (next) this.select(next);
        else this.#allReviewed();
      },
      previous: () => this.go(-1),
      next: () => this.go(1),
      "start-earlier": () => editor.step("start", -1, shift),
      "start-later": () => editor.step("start", 1, shift),
      "end-earlier": () => editor.step("end", -1, shift),
      "end-later": () => editor.step("end", 1, shift),
      "start-here": () => editor.set("start", player.position),
      "end-here": () => editor.set("end", player.position),
      split: () => editor.split(),
      merge: () => editor.merge(),
      remove: () => this.#remove(),
      add: () => this.#add(),
      finish: () => this.#finish(),
      undo: () => this.#turned(captions.undo(), "Undone.", "Nothing to undo."),
      redo: () => this.#turned(captions.redo(), "Redone.", "Nothing to redo."),
      play: () => player.toggle(),
      back: () => player.seek(player.position - 100),
      forward: () => player.seek(player.position + 100),
      find: () => this.find.open(),
      keys: () => part("keys").showModal(),
      theirs: () => this.#resolve("accept"),
      mine: () => this.#resolve("insist"),
      "take-read": () => {
        editor.text.value = editor.caption.ocr;
        editor.text.dispatchEvent(new Event("input"));
        editor.text.focus();
      },
    };
    actions[action]?.();
  }

  #remove() {
    const { editor, captions } = this;
    if (!editor.caption || editor.caption.standing === "removed") return;
    const order = captions.visible;
    const at = order.indexOf(editor.uid);
    const next = order[at + 1] ?? order[at - 1] ?? null;
    captions.outbox.setDraft(null);
    editor.discard();
    captions.edit([editor.uid], []);
    this.say("Removed. Ctrl+Z brings it back.");
    this.select(next);
  }

  #add() {
    const { captions, player, editor } = this;
    editor.commit();
    const start = Math.round(player.position);
    const later = captions.shown.filter((one) => one.start >= start).map((one) => one.start);
    const end = Math.min(start + 2000, ...later, captions.footage.shown(captions.footage.frameCount));
    const isFree = !captions.shown.some((one) => one.start <= start && one.end > start);
    if (!isFree || end - start < 200) return this.say("There is no room for a caption where the player stands.");
    const uid = `n${crypto.randomUUID()}`;
    captions.edit([], [{ uid, start, end, text: "…", zone: 0, reviewed: false }]);
    this.select(uid, { at: [0, 1] });
  }

  #turned(uid, done, nothing) {
    this.say(uid === null ? nothing : done);
    if (uid === null) return;
    const { captions, editor } = this;
    editor.discard();
    editor.uid = null;
    this.select(captions.get(uid)?.standing === "removed" ? (captions.visible[0] ?? null) : uid);
  }

  #resolve(how) {
    const edit = this.captions.outbox.conflict(this.editor.uid);
    if (!edit) return;
    // What was typed after the edit is part of "yours".
    if (how === "insist") this.editor.commit();
    this.captions[how](edit);
    const uid = this.editor.uid;
    this.editor.discard();
    this.editor.uid = null;
    // Shows the state too, if nothing is left to send.
    this.sync.send();
    if (how === "accept") this.sync.look(true);
    this.select(this.captions.get(uid) ? uid : this.#first());
    this.refresh();
  }

  #selectFound(uid, wanted) {
    this.select(uid);
    wanted.lastIndex = 0;
    const found = wanted.exec(this.editor.text.value);
    if (found) this.editor.text.setSelectionRange(found.index, found.index + found[0].length);
  }

  async #import(field) {
    const [file] = field.files;
    field.value = "";
    if (!file) return;
    const ask = (dry) =>
      fetch(`/videos/${videoId}/import?filename=${encodeURIComponent(file.name)}&dry_run=${dry}`, {
        method: "POST",
        headers: { "content-type": "application/octet-stream" },
        body: file,
      });
    try {
      const tried = await ask(true);
      if (!tried.ok) throw await problem(tried);
      const { counts } = await tried.json();
      const changes = Object.entries(counts).filter(([kind, count]) => count && kind !== "kept");
      if (!changes.length) return this.say(`${file.name} says what is here already.`);
      const list = changes.map(([kind, count]) => `${count} ${kind}`).join(", ");
      if (!confirm(`${file.name}: ${list}. Make these changes?`)) return;
      const made = await ask(false);
      if (!made.ok) throw await problem(made);
      this.say(`Imported ${file.name}: ${list}.`, "good");
      await this.sync.look(true);
    } catch (error) {
      this.say(error.message, "bad");
    }
  }

  // -- keys

  #key(event) {
    // Enter ends the composition of a Chinese, Japanese or Korean word; it confirms nothing.
    if (event.isComposing || document.querySelector("dialog:modal")) return;
    const action = this.#actionOf(event);
    if (!action) return;
    event.preventDefault();
    this.do(action, event.shiftKey);
  }

  #actionOf(event) {
    const { code, key, target } = event;
    const isText = target === this.editor.text;
    const inList = target === part("rows");
    const control = (event.ctrlKey || event.metaKey) && !event.altKey;
    if (control && key.toLowerCase() === "z" && (isText || inList || target === root)) {
      // The browser undoes what is being typed.
      if (isText && this.editor.hasTyped) return null;
      return event.shiftKey ? "redo" : "undo";
    }
    if (control && key.toLowerCase() === "y" && !(isText && this.editor.hasTyped)) return "redo";
    if (control && key.toLowerCase() === "f") return "find";
    if (control && code === "Space") return "play";
    if (control && key === "Enter") return "finish";
    // AltGr, which is Ctrl and Alt on Windows, types letters: @ in German, ą in Polish.
    const isAltGr = event.ctrlKey || event.getModifierState("AltGraph");
    if (event.altKey && !event.metaKey && !isAltGr) return ALT[code] ?? null;
    if (key === "Enter" && !event.shiftKey && !control && (isText || inList)) return "confirm";
    if (inList) return { ArrowUp: "previous", ArrowDown: "next", Delete: "remove" }[key] ?? null;
    if (isText) return { PageUp: "previous", PageDown: "next" }[key] ?? null;
    if (key === "?" && !/INPUT|TEXTAREA|SELECT/.test(target.tagName)) return "keys";
    return null;
  }
}

/** Actions that change no caption. */
const READS = new Set(["previous", "next", "play", "back", "forward", "find", "keys"]);

/** Runs hold the lock under their id. */
const holder = (owner) => (/^[0-9a-f-]{36}$/.test(owner) ? `Run ${owner.slice(0, 8)}` : owner);

// By the place of the key, so that they are the same on every keyboard.
const ALT = {
  ArrowUp: "previous",
  ArrowDown: "next",
  KeyQ: "start-earlier",
  KeyW: "start-later",
  KeyA: "end-earlier",
  KeyS: "end-later",
  BracketLeft: "start-here",
  BracketRight: "end-here",
  KeyX: "split",
  KeyJ: "merge",
  Delete: "remove",
  Backspace: "remove",
  KeyN: "add",
  KeyP: "play",
  KeyK: "back",
  KeyL: "forward",
  KeyT: "theirs",
  KeyM: "mine",
  KeyO: "take-read",
  KeyH: "keys",
};

async function begin() {
  const [outbox, answer] = await Promise.all([
    openOutbox(videoId),
    fetch(`/videos/${videoId}/captions?order=time`, { cache: "no-store" }),
  ]);
  if (!answer.ok) throw await problem(answer);
  const list = await answer.json();
  const review = new Review(list, outbox, new LiveEvents(videoId));
  review.sync.tag = answer.headers.get("etag");
  part("desk").hidden = false;
  review.refresh();
  review.select(review.editor.uid);
  review.sync.send();
  performance.mark("ready");
  root.dataset.ready = "true";
}

begin().catch((error) => {
  part("failed").hidden = false;
  part("failed").textContent = error.message;
});
