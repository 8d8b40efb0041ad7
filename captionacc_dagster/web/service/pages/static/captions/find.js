// Find and replace in the captions' texts.

/** Return a pattern for a text, or null if it is empty or no regular expression. */
export function pattern(text, { isExpression, matchCase }) {
  if (!text) return null;
  const source = isExpression ? text : text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  try {
    return new RegExp(source, matchCase ? "gu" : "giu");
  } catch {
    return null;
  }
}

const counted = (count) => (count === 1 ? "1 caption" : `${count} captions`);

export class Find {
  constructor(dialog, captions, { select, announce, commit }) {
    this.dialog = dialog;
    this.captions = captions;
    this.select = select;
    this.announce = announce;
    this.commit = commit;
    this.form = dialog.querySelector("form");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const action = event.submitter?.value ?? "next";
      if (action === "close") dialog.close();
      else this[action]();
    });
    this.form.addEventListener("input", () => this.#count());
    // The browser does it for modal dialogs only.
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "Escape") dialog.close();
    });
  }

  open() {
    if (!this.dialog.open) this.dialog.show();
    this.form.elements.find.select();
    this.#count();
  }

  get #pattern() {
    const { find, expression, matchcase } = this.form.elements;
    return pattern(find.value, { isExpression: expression.checked, matchCase: matchcase.checked });
  }

  #found() {
    const wanted = this.#pattern;
    if (!wanted) return [];
    return this.captions.visible.filter((uid) => {
      wanted.lastIndex = 0;
      return wanted.test(this.captions.get(uid).text);
    });
  }

  #count() {
    const output = this.form.querySelector("output");
    const { find } = this.form.elements;
    if (find.value && !this.#pattern) output.textContent = "This is no regular expression.";
    else output.textContent = find.value ? counted(this.#found().length) : "";
  }

  next() {
    const found = this.#found();
    if (!found.length) return this.announce("Nothing was found.");
    const here = this.captions.visible.indexOf(this.current());
    const order = this.captions.visible;
    const after = found.find((uid) => order.indexOf(uid) > here) ?? found[0];
    this.select(after, this.#pattern);
  }

  replace() {
    if (!this.canChange()) return;
    // What is being typed is part of the text.
    this.commit();
    const uid = this.current();
    if (uid && this.#found().includes(uid)) this.#change(uid);
    this.next();
  }

  all() {
    if (!this.canChange()) return;
    this.commit();
    const found = this.#found();
    found.forEach((uid) => this.#change(uid));
    this.announce(`${counted(found.length)} ${found.length === 1 ? "was" : "were"} changed.`);
    this.#count();
  }

  #change(uid) {
    const { replacement, expression } = this.form.elements;
    const text = this.captions.get(uid).text;
    const wanted = this.#pattern;
    const changed = expression.checked
      ? text.replace(wanted, replacement.value)
      : text.replace(wanted, () => replacement.value);
    if (changed !== text) this.change(uid, changed);
  }
}
