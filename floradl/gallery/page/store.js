// What the archive holds, as the data scripts bring it: shelf after shelf, the newest first.
//
// Everything here is text from strangers. It goes to the page as text alone (see `text.js`); addresses are made
// of the folder and file names that floradl gave, each part encoded.
"use strict";

const floradl = {};

{
  const KINDS = {
    imageUrl: "image",
    videoUrl: "video",
    audioUrl: "audio",
    documentUrl: "document",
    text: "text",
  };
  const FORMS = {
    png: "picture", jpg: "picture", gif: "picture", webp: "picture", avif: "picture", svg: "picture",
    mp4: "film", webm: "film", mov: "film", mkv: "film",
    mp3: "sound", wav: "sound", ogg: "sound", flac: "sound", m4a: "sound", aac: "sound",
    txt: "text",
  };
  const AT_ONCE = 2;
  const PAUSE_MS = 4;

  const policy = window.trustedTypes?.createPolicy("floradl", { createScriptURL: checkedUrl }) ?? {
    createScriptURL: checkedUrl,
  };

  /** Only scripts of data are ever loaded. */
  function checkedUrl(url) {
    if (!/^gallery\/data\/(?:list|more|text)-[0-9a-z]+-[0-9a-f]+\.js$/.test(url)) {
      throw new TypeError("no script of data");
    }
    return url;
  }

  const waiting = new Map(); // of a data script that is on its way: what takes its data
  let shelves = [];
  let loading = 0;
  let next = 0;

  const store = (floradl.store = {
    scannedAt: "",
    items: [], // all outputs so far, the newest run first
    runs: new Map(),
    total: 0, // outputs, with those that are not loaded yet
    workspaces: new Map(), // names by id
    projects: new Map(),
    techniques: new Map(), // names by id, or by themselves
    canvases: [], // { project, folder, files }, the newest file first
    isComplete: false,
    hasTexts: false,
    broken: 0, // scripts of data that are missing
    onIndex: () => {},
    onChange: () => {},
  });

  /** What every script of data calls. */
  floradl.data = (kind, name, data) => {
    if (kind === "index") begin(data);
    else waiting.get(`${kind}-${name}`)?.(data);
  };

  function begin([scannedAt, rows, workspaces, projects, canvases]) {
    store.scannedAt = scannedAt;
    store.workspaces = new Map(workspaces);
    store.projects = new Map(projects);
    store.canvases = canvases.map(([project, folder, files]) => ({ project, folder, files }));
    shelves = rows.map(([name, outputs]) => ({ name, outputs, runs: [], hasTexts: false, details: null }));
    store.total = shelves.reduce((sum, shelf) => sum + shelf.outputs, 0);
    store.onIndex();
    loadOn();
  }

  /** Load one script of data; its data, or null where it is missing. */
  function load(kind, name) {
    return new Promise((resolve) => {
      const script = document.createElement("script");
      const file = `${kind}-${name}`;
      const end = (data) => {
        waiting.delete(file);
        script.remove();
        resolve(data);
      };
      waiting.set(file, end);
      script.onerror = () => {
        store.broken += 1;
        end(null);
      };
      script.src = policy.createScriptURL(`gallery/data/${file}.js`);
      document.head.append(script);
    });
  }

  /** Load the next shelves, in order, leaving the page time to breathe. */
  async function loadOn() {
    while (loading < AT_ONCE && next < shelves.length) {
      const shelf = shelves[next];
      next += 1;
      loading += 1;
      shelf.coming = load("list", shelf.name);
    }
    const first = shelves.find((shelf) => shelf.coming);
    if (!first) {
      store.isComplete = true;
      store.onChange();
      return;
    }
    const data = await first.coming;
    first.coming = null;
    loading -= 1;
    if (data) take(first, data);
    store.onChange();
    setTimeout(loadOn, PAUSE_MS);
  }

  function take(shelf, [places, models, types, rows, hasTexts, techniques]) {
    shelf.hasTexts = Boolean(hasTexts);
    store.hasTexts ||= shelf.hasTexts;
    const known = places.map(([workspace, project, folder]) => ({ workspace, project, folder }));
    for (const [technique, name] of techniques) {
      if (!store.techniques.has(technique)) store.techniques.set(technique, name || technique); // the newest counts
    }
    rows.forEach(([id, folder, place, model, created, cost, vanished, outputs, uploaded, technique, name], number) => {
      const run = {
        id,
        shelf,
        number,
        place: known[place],
        folder: folder || id,
        model: model < 0 ? null : models[model],
        technique: technique < 0 ? null : techniques[technique][0],
        name: name || "",
        isUploaded: uploaded === 1,
        created,
        cost,
        isVanished: vanished === 1,
        outputs: [],
        ...momentOf(created),
      };
      run.outputs = outputs.map((output, index) => itemOf(run, index, output, types));
      store.runs.set(id, run);
      shelf.runs.push(run);
      for (const item of run.outputs) store.items.push(item);
    });
  }

  function itemOf(run, index, [key, type, failed, file, bytes, width, height, thumbnail, text, label], types) {
    const name = file.startsWith("/") ? file.slice(1) : key + file;
    const form = FORMS[name.slice(name.lastIndexOf(".") + 1)] ?? "other";
    return {
      run,
      index,
      key,
      type: types[type],
      kind: Object.hasOwn(KINDS, types[type]) ? KINDS[types[type]] : "other",
      form: failed ? "failed" : form,
      file: failed ? "" : name,
      bytes,
      width,
      height,
      thumbnail,
      text: failed ? "" : text,
      error: failed ? text : "",
      longText: null,
      label: label ?? "", // what the canvas says of it
      longLabel: null,
    };
  }

  /** The day and month of a moment, where the reader is; numbers, for a hundred thousand are compared. */
  function momentOf(created) {
    if (created === null) return { day: 0, month: "undated" };
    const date = new Date(created);
    const year = date.getFullYear();
    if (!(year >= 1970 && year <= 9999)) return { day: 0, month: "undated" };
    const month = date.getMonth() + 1;
    return {
      day: year * 10000 + month * 100 + date.getDate(),
      month: `${String(year).padStart(4, "0")}-${String(month).padStart(2, "0")}`,
    };
  }

  const encoded = (path) => path.split("/").map(encodeURIComponent).join("/");

  /** Where a run's folder is below the archive. */
  store.folderOf = (run) => (run.folder.startsWith("/") ? run.folder.slice(1) : `${run.place.folder}/${run.folder}`);

  /** The address of a run's folder, relative to the page. */
  store.folderUrl = (run) => `./${encoded(store.folderOf(run))}/`;

  /** The address of a canvas's folder, or of a file in it. */
  store.canvasUrl = (canvas, file = "") => `./${encoded(`${canvas.folder}/${file}`)}`;

  /** The address of an output's file. */
  store.fileUrl = (item) => store.folderUrl(item.run) + encodeURIComponent(item.file);

  /** The address of an output's small picture; "" where it has none. */
  store.thumbnailUrl = (item) =>
    item.thumbnail ? `./gallery/thumbnails/${item.thumbnail.slice(0, 2)}/${item.thumbnail}.webp` : "";

  /** What only the viewer shows of a run and its outputs; null where it cannot be had. */
  store.details = async (run) => {
    run.shelf.details ??= load("more", run.shelf.name);
    const rows = await run.shelf.details;
    if (!rows) return null;
    const [completed, vanishedAt, outputs] = rows[run.number];
    return {
      completed,
      vanishedAt,
      outputs: outputs.map(([sha256, contentType, url, archivedAt, attempts, message, failedAt, isCut]) => ({
        sha256, contentType, url, archivedAt, attempts, message, failedAt, isCut: Boolean(isCut),
      })),
    };
  };

  /** Load the long texts of a shelf, once. */
  async function loadTexts(shelf) {
    shelf.texts ??= load("text", shelf.name).then((rows) => {
      for (const [run, output, text, label] of rows ?? []) {
        if (text) shelf.runs[run].outputs[output].longText = text;
        if (label) shelf.runs[run].outputs[output].longLabel = label;
      }
    });
    return shelf.texts;
  }

  /** The whole of a text, as far as the gallery has it. */
  store.fullText = async (item) => {
    if (item.run.shelf.hasTexts) await loadTexts(item.run.shelf);
    return item.longText ?? item.text;
  };

  /** The whole of what the canvas says of an output, as far as the gallery has it. */
  store.fullLabel = async (item) => {
    if (item.label && item.run.shelf.hasTexts) await loadTexts(item.run.shelf);
    return item.longLabel ?? item.label;
  };

  /** Load all long texts of the shelves that are there, so that they can be searched in. */
  store.loadTexts = async () => {
    for (const shelf of shelves) {
      if (shelf.hasTexts && !shelf.texts) {
        await loadTexts(shelf);
        store.onChange();
      }
    }
  };
}
