// The page of all videos: uploads of dropped files, and progress as it happens. The list itself is htmx's.

import { problem } from "/static/captions/sync.js";
import { LiveEvents } from "/static/events.js";

const part = (name) => document.querySelector(`[data-part="${name}"]`);
const list = document.getElementById("videos");

// -- uploads

/** Register a file, send it, and confirm it. */
async function upload(file) {
  const row = document.createElement("li");
  const name = document.createElement("span");
  const bar = document.createElement("progress");
  const words = document.createElement("span");
  name.textContent = file.name;
  name.dir = "auto";
  bar.max = 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Upload of ${file.name}`);
  row.append(name, bar, words);
  part("uploads").append(row);
  try {
    const registered = await json("POST", "/videos", { name: file.name, size: file.size, type: file.type || undefined });
    await send(file, registered.upload, (share) => {
      bar.value = share;
      words.textContent = `${Math.round(share * 100)} %`;
    });
    await json("POST", `/videos/${registered.video_id}/confirm`);
    words.textContent = "uploaded";
    list.dispatchEvent(new Event("changed"));
    setTimeout(() => row.remove(), 6000);
  } catch (error) {
    bar.remove();
    row.className = "bad";
    words.textContent = error.message;
  }
}

async function json(method, url, body) {
  const answer = await fetch(url, {
    method,
    headers: body ? { "content-type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  if (!answer.ok) throw await problem(answer);
  return answer.json();
}

/** Send a file; `fetch` does not say how much has been sent. */
function send(file, target, report) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open(target.method, target.url);
    for (const [header, value] of Object.entries(target.headers)) request.setRequestHeader(header, value);
    request.upload.addEventListener("progress", (event) => report(event.loaded / (event.total || file.size)));
    request.addEventListener("error", () => fail(new Error("the upload broke off: drop the file again")));
    request.addEventListener("load", () => {
      if (request.status >= 200 && request.status < 300) return done();
      let detail = `the upload was refused (${request.status})`;
      try {
        detail = JSON.parse(request.responseText).detail ?? detail;
      } catch {
        // A bucket answers in XML, which is not for people.
      }
      fail(new Error(detail));
    });
    request.send(file);
  });
}

let uploading = 0;

async function uploadAll(files) {
  uploading += files.length;
  // One after the other: two would share the line.
  for (const file of files) {
    await upload(file);
    uploading -= 1;
  }
}

// The browser asks before it breaks an upload off.
addEventListener("beforeunload", (event) => {
  if (uploading) event.preventDefault();
});

part("files").addEventListener("change", (event) => {
  uploadAll([...event.target.files]);
  event.target.value = "";
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  part("drop").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) part("drop").classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  part("drop").classList.remove("over");
  uploadAll([...event.dataTransfer.files]);
});

// -- progress

const known = new Map();

/** Show what is known on the bars; the list that comes from the server has none of it. */
function show() {
  for (const bar of document.querySelectorAll("[data-progress]")) {
    const progress = known.get(bar.dataset.progress);
    // An earlier run of the stage ended somewhere else.
    if (progress?.run_id !== bar.dataset.run) continue;
    const words = `${progress.percent} % · ${progress.message}`;
    // Only what differs: this is called for its own changes too.
    if (!bar.hasAttribute("value") || bar.value !== progress.percent) bar.value = progress.percent;
    if (bar.nextElementSibling.textContent !== words) bar.nextElementSibling.textContent = words;
  }
}

const events = new LiveEvents();
events.addEventListener("progress", ({ detail: progress }) => {
  known.set(`${progress.video_id}.${progress.stage}`, progress);
  show();
});
let refreshing;
for (const kind of ["reset", "video", "layout", "captions", "job"]) {
  events.addEventListener(kind, () => {
    clearTimeout(refreshing);
    refreshing = setTimeout(() => list.dispatchEvent(new Event("changed")), 300);
  });
}
new MutationObserver(show).observe(list, { childList: true, subtree: true, attributeFilter: ["value", "data-run"] });
