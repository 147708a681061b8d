// One output, large, with all that is known of it.
"use strict";

{
  const { element, icon, store, text, route, grid, tiles, zoom } = floradl;
  const ACTIVE = new Set(["svg", "html", "htm", "xhtml", "xml", "pdf", "mht", "mhtml"]);
  const COPIED_MS = 1600;

  const byId = (id) => document.getElementById(id);
  const dialog = byId("viewer");
  const stage = byId("stage");
  let item = null;
  let wasOpenedHere = false;

  const makers = {
    picture(shown) {
      const file = store.fileUrl(shown);
      const image = element("img", { className: "viewer-picture", alt: tiles.spoken(shown), draggable: false });
      if (shown.width) {
        image.width = shown.width;
        image.height = shown.height;
      }
      image.addEventListener("error", () => {
        if (shown === item) card(shown, "warning", "File not found", "floradl verify --repair brings it back.");
      });
      const thumbnail = store.thumbnailUrl(shown);
      if (thumbnail) image.style.backgroundImage = `url("${thumbnail}")`;
      image.src = file;
      stage.replaceChildren(image);
      zoom.begin(image);
    },
    film(shown) {
      const film = element("video", { controls: true, loop: true, className: "viewer-film", src: store.fileUrl(shown) });
      const poster = store.thumbnailUrl(shown);
      if (poster) film.poster = poster;
      film.setAttribute("aria-label", tiles.spoken(shown));
      stage.replaceChildren(film);
    },
    sound(shown) {
      const player = element("audio", { controls: true, src: store.fileUrl(shown) });
      player.setAttribute("aria-label", tiles.spoken(shown));
      stage.replaceChildren(element("div", { className: "viewer-sound" }, tiles.wave(shown), player));
    },
    text(shown) {
      const page = element("div", { className: "viewer-text", dir: "auto", tabIndex: 0, role: "region" });
      page.setAttribute("aria-label", "The text");
      page.textContent = text.lines(shown.longText ?? shown.text) || "(empty)";
      stage.replaceChildren(page);
      store.fullText(shown).then((whole) => {
        if (shown === item) page.textContent = text.lines(whole) || "(empty)";
      });
    },
    other(shown) {
      const thumbnail = store.thumbnailUrl(shown);
      if (thumbnail) {
        stage.replaceChildren(element("img", { className: "viewer-picture", alt: tiles.spoken(shown), src: thumbnail }));
      } else {
        card(shown, "file", tiles.extension(shown), `${text.bytes(shown.bytes)}. This page does not show files of this kind.`);
      }
    },
    failed(shown) {
      card(shown, "warning", `${text.kind(shown.kind)} not archived`, text.line(shown.error));
    },
  };

  function card(shown, name, title, note) {
    zoom.begin(null);
    stage.replaceChildren(
      element("div", { className: "viewer-card" }, icon(name), element("strong", { textContent: title }), element("p", { textContent: note })),
    );
  }

  function copyButton(value, what) {
    const button = element("button", { type: "button", className: "button quiet copy" }, icon("copy"), element("span", { className: "unseen", textContent: `Copy ${what}` }));
    button.addEventListener("click", async () => {
      const isCopied = await copy(value);
      byId("viewer-status").textContent = isCopied ? `Copied ${what}` : "The browser does not let this page copy";
      if (!isCopied) return;
      button.replaceChild(icon("done"), button.firstChild);
      setTimeout(() => button.replaceChild(icon("copy"), button.firstChild), COPIED_MS);
    });
    return button;
  }

  async function copy(value) {
    try {
      await navigator.clipboard.writeText(value);
      return true;
    } catch {
      const field = element("textarea", { value, className: "unseen" });
      dialog.append(field);
      field.select();
      const isCopied = document.execCommand("copy");
      field.remove();
      return isCopied;
    }
  }

  function row(name, value, { copies = null, isCode = false } = {}) {
    if (value === null || value === undefined || value === "") return [];
    const shown = element("bdi", { className: isCode ? "code" : "", textContent: text.line(value) });
    const description = element("dd", {}, shown);
    if (copies !== null) description.append(copyButton(copies, `the ${name.toLowerCase()}`));
    return [element("dt", { textContent: name }), description];
  }

  function sizeOf(shown) {
    const pixels = shown.width ? `${text.count(shown.width)} × ${text.count(shown.height)}, ` : "";
    return shown.form === "failed" ? "" : pixels + text.bytes(shown.bytes);
  }

  function costOf(run) {
    if (run.cost === null) return "";
    return text.dollars(run.cost) + (run.outputs.length > 1 ? ` for ${text.count(run.outputs.length)} outputs` : "");
  }

  function showFacts(shown, details) {
    const { run } = shown;
    const more = details?.outputs[shown.index];
    const path = `${store.folderOf(run)}/${shown.file}`;
    const isText = shown.form === "text";
    byId("viewer-list").replaceChildren(
      ...row("Created", run.created === null ? "" : text.moment(run.created)),
      ...row("Cost", costOf(run)),
      ...row("Size", sizeOf(shown)),
      ...row("Type", [shown.type, more?.contentType].filter(Boolean).join(", ")),
      ...row("Project", text.project(run.place.project), { copies: run.place.project }),
      ...row("Workspace", text.workspace(run.place.workspace), { copies: run.place.workspace }),
      ...row("Technique", run.technique && text.technique(run.technique), { copies: run.technique }),
      ...row(run.isUploaded ? "Asset" : "Run", run.id, { copies: run.id, isCode: true }),
      ...(run.isUploaded ? [] : row("Output", shown.key, { copies: shown.key, isCode: true })),
      ...row("File", shown.form === "failed" ? "" : path, { copies: path, isCode: true }),
      ...row("SHA-256", more?.sha256, { copies: more?.sha256, isCode: true }),
      ...row("Source", more?.url, { copies: more?.url, isCode: true }),
      ...row("Archived", more?.archivedAt && text.moment(more.archivedAt)),
      ...row("Error", shown.error && [shown.error, more?.message].filter(Boolean).join(": ")),
      ...row("Last tried", more?.failedAt && text.moment(more.failedAt)),
      ...(isText ? row("Text", text.things((shown.longText ?? shown.text).length, "character"), { copies: shown.longText ?? shown.text }) : []),
    );
    const notes = [];
    if (run.isVanished) notes.push(`FLORA does not list this ${run.isUploaded ? "file" : "run"} any more${details?.vanishedAt ? `, since ${text.moment(details.vanishedAt)}` : ""}. What is archived stays.`);
    if (shown.form === "failed") notes.push("This output could not be archived so far. The next run of floradl tries again.");
    if (more?.isCut) notes.push("This is the beginning of the text. Its file has all of it.");
    const note = byId("viewer-note");
    note.hidden = !notes.length;
    note.textContent = notes.join(" ");
  }

  /** What the canvas says of an output, often the prompt. */
  function showLabel(shown) {
    const label = byId("viewer-label");
    label.hidden = !shown.label;
    label.replaceChildren();
    if (!shown.label) return;
    const say = (said) => {
      const words = element("span", { dir: "auto", textContent: text.lines(said) });
      label.replaceChildren(words, copyButton(said, "the label"));
    };
    say(shown.longLabel ?? shown.label);
    store.fullLabel(shown).then((whole) => {
      if (shown === item && whole !== shown.label) say(whole);
    });
  }

  function showOthers(shown) {
    const others = shown.run.outputs.length > 1 ? shown.run.outputs : [];
    byId("viewer-others").hidden = !others.length;
    byId("others").replaceChildren(
      ...others.map((other, number) => {
        const link = element("a", { href: route.with({ run: other.run.id, output: other.key }), className: "other" });
        link.setAttribute("aria-label", `Output ${number + 1} of ${others.length}: ${tiles.spoken(other)}`);
        if (other === shown) link.setAttribute("aria-current", "true");
        const url = other.form === "picture" ? store.thumbnailUrl(other) || store.fileUrl(other) : store.thumbnailUrl(other);
        if (url) link.append(tiles.picture(url, "", () => {}));
        else link.append(element("span", { textContent: other.form === "failed" ? "!" : tiles.extension(other) }));
        link.addEventListener("click", (event) => {
          event.preventDefault();
          go(other);
        });
        return element("li", {}, link);
      }),
    );
  }

  function show(shown) {
    item = shown;
    zoom.begin(null);
    makers[shown.form](shown);
    byId("viewer-title").textContent = text.title(shown.run);
    showLabel(shown);
    const number = grid.placeOf(shown);
    byId("viewer-place").textContent = number < 0 ? "" : `${text.count(number + 1)} of ${text.count(grid.items.length)}`;
    byId("viewer-previous").disabled = number <= 0;
    byId("viewer-next").disabled = number < 0 || number >= grid.items.length - 1;
    const file = byId("viewer-file");
    file.hidden = shown.form === "failed";
    if (shown.form !== "failed") file.href = store.fileUrl(shown);
    byId("viewer-folder").href = store.folderUrl(shown.run);
    const extension = shown.file.slice(shown.file.lastIndexOf(".") + 1).toLowerCase();
    byId("viewer-warning").hidden = shown.form === "failed" || !ACTIVE.has(extension);
    showFacts(shown, null);
    showOthers(shown);
    store.details(shown.run).then((details) => {
      if (shown === item && details) showFacts(shown, details);
    });
    ahead(number);
  }

  /** Let the browser fetch the neighbours' pictures, so that they are there at the next key. */
  function ahead(number) {
    for (const near of [grid.items[number + 1], grid.items[number - 1]]) {
      if (number >= 0 && near?.form === "picture") new Image().src = store.fileUrl(near);
    }
  }

  function go(other) {
    route.change({ run: other.run.id, output: other.key });
  }

  function step(by) {
    const number = item ? grid.placeOf(item) : -1;
    const other = number < 0 ? null : grid.items[number + by];
    if (other) go(other);
  }

  function leave() {
    route.settle();
    if (wasOpenedHere) history.back();
    else route.change({ run: null, output: null });
  }

  byId("viewer-close").addEventListener("click", leave);
  byId("viewer-previous").addEventListener("click", () => step(-1));
  byId("viewer-next").addEventListener("click", () => step(1));
  zoom.whenSwiped(step);
  grid.whenOpened(() => {
    route.settle(); // what the link leads away from is what back comes to
    wasOpenedHere = true;
  });
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    leave();
  });
  dialog.addEventListener("close", () => {
    // Closed by the browser, which asks only those first who did something here. Open, it is so again: back and
    // forward may be quicker than this event.
    if (item && !dialog.open) leave();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) leave();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("video, audio, textarea")) return;
    const isScrolling = event.target.matches(".viewer-text");
    if (event.key === "ArrowRight" && !isScrolling) step(1);
    else if (event.key === "ArrowLeft" && !isScrolling) step(-1);
    else if (!zoom.key(event.key)) return;
    event.preventDefault();
  });

  function close() {
    const last = item;
    item = null;
    wasOpenedHere = false;
    zoom.begin(null);
    stage.replaceChildren();
    dialog.close();
    document.body.classList.remove("has-viewer");
    if (last) grid.focus(last);
  }

  floradl.viewer = {
    /** Show the output that a state names, if it is there; or close. */
    show(state) {
      if (state.run === null) {
        if (item) close();
        return;
      }
      const run = store.runs.get(state.run);
      const wanted = run?.outputs.find((output) => output.key === state.output) ?? run?.outputs[0];
      if (!wanted) return; // not loaded yet; or nothing of this archive
      if (!dialog.open) {
        dialog.showModal();
        document.body.classList.add("has-viewer");
        byId("viewer-title").focus();
      }
      if (wanted !== item) show(wanted);
    },
  };
}
