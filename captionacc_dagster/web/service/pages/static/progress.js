// The bar of the run that works on a page's video.

export class WorkBar {
  /** `stages`: those whose runs are shown. */
  constructor(box, events, stages) {
    this.box = box;
    events.addEventListener("progress", ({ detail }) => stages.includes(detail.stage) && this.#show(detail));
    events.addEventListener("video", ({ detail }) => stages.some((stage) => detail[stage].run_id) || this.#hide());
    // The progress of running stages follows.
    events.addEventListener("ready", () => this.#hide());
  }

  #show({ percent, message }) {
    this.box.querySelector("progress").value = percent;
    this.box.querySelector("span").textContent = `${percent} % · ${message}`;
    this.box.hidden = false;
  }

  #hide() {
    this.box.hidden = true;
  }
}
