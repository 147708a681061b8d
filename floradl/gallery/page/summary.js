// What the outputs that the filters leave come to: over time and by model, as small drawings and a table.
"use strict";

{
  const { element, drawing, store, text } = floradl;
  const WIDTH = 320;
  const HEIGHT = 84;
  const WIDEST = 40;
  const MODELS = 8;
  const MOST_MONTHS = 48;
  const MOST_DAYS = 70;
  const DAY_MS = 86_400_000;
  const box = document.getElementById("summary");

  /** Sums of outputs, bytes and dollars; a run's cost is shared out evenly over its outputs. */
  class Sums {
    outputs = 0;
    bytes = 0;
    dollars = 0;
    add(item) {
      this.outputs += 1;
      this.bytes += item.bytes;
      this.dollars += (item.run.cost ?? 0) / item.run.outputs.length;
    }
  }

  const MEASURES = [
    { name: "outputs", title: "Outputs", format: (value) => text.count(value) },
    { name: "bytes", title: "Size", format: text.bytes },
    { name: "dollars", title: "Cost", format: text.dollars },
  ];

  function sumUp(items) {
    const all = new Sums();
    const days = new Map();
    const months = new Map();
    const models = new Map();
    for (const item of items) {
      all.add(item);
      sumsOf(days, item.run.day).add(item);
      sumsOf(months, item.run.month).add(item);
      sumsOf(models, item.run.model ?? "").add(item);
    }
    days.delete(0);
    months.delete("undated");
    return { all, steps: byDay(days) ?? byMonth(months), models };
  }

  function sumsOf(map, key) {
    let sums = map.get(key);
    if (!sums) {
      sums = new Sums();
      map.set(key, sums);
    }
    return sums;
  }

  /** Every day from the first to the last, those without any output too; null where that is too many. */
  function byDay(days) {
    const keys = [...days.keys()].sort((a, b) => a - b);
    if (!keys.length) return null;
    // Noon, so that a day of 23 hours in between does not matter.
    const [first, last] = [keys[0], keys.at(-1)].map((key) => Date.UTC(Math.floor(key / 10000), Math.floor(key / 100) % 100 - 1, key % 100, 12));
    if (last - first > MOST_DAYS * DAY_MS) return null;
    const list = [];
    for (let moment = first; moment <= last; moment += DAY_MS) {
      const date = new Date(moment);
      const key = date.getUTCFullYear() * 10000 + (date.getUTCMonth() + 1) * 100 + date.getUTCDate();
      list.push({ label: text.shortDay(moment), sums: days.get(key) ?? new Sums() });
    }
    return list;
  }

  /** The same with months; with years where those are too many. */
  function byMonth(months) {
    const keys = [...months.keys()].sort();
    if (!keys.length) return [];
    const [first, last] = [keys[0], keys.at(-1)].map((key) => Number(key.slice(0, 4)) * 12 + Number(key.slice(5)) - 1);
    if (last - first >= MOST_MONTHS) return years(months, keys);
    const list = [];
    for (let month = first; month <= last; month += 1) {
      const key = `${String(Math.floor(month / 12)).padStart(4, "0")}-${String((month % 12) + 1).padStart(2, "0")}`;
      list.push({ label: text.shortMonth(key), sums: months.get(key) ?? new Sums() });
    }
    return list;
  }

  function years(months, keys) {
    const list = [];
    for (let year = Number(keys[0].slice(0, 4)); year <= Number(keys.at(-1).slice(0, 4)) && list.length < 500; year += 1) {
      const sums = new Sums();
      for (const key of keys) {
        if (Number(key.slice(0, 4)) !== year) continue;
        for (const { name } of MEASURES) sums[name] += months.get(key)[name];
      }
      list.push({ label: String(year), sums });
    }
    return list;
  }

  function chart({ name, title, format }, list, all) {
    const most = Math.max(...list.map(({ sums }) => sums[name]), 0);
    const peak = list.find(({ sums }) => sums[name] === most);
    const step = WIDTH / Math.max(list.length, 1);
    const wide = Math.min(step * 0.8, WIDEST);
    const bars = list.map(({ label, sums }, place) => {
      const height = most ? Math.max(sums[name] ? 2 : 0.75, (HEIGHT * sums[name]) / most) : 0.75;
      const bar = drawing("rect", {
        x: place * step + (step - wide) / 2, y: HEIGHT - height, width: wide, height, rx: Math.min(2, wide * 0.2),
        class: sums[name] ? "chart-bar" : "chart-none",
      });
      bar.append(drawing("title"));
      bar.firstChild.textContent = `${label}: ${format(sums[name])}`;
      return bar;
    });
    const picture = drawing("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, ...bars);
    picture.setAttribute("aria-label", peak && most
      ? `${title} over time, most in ${peak.label}: ${format(most)}`
      : `${title} over time: nothing`);
    const ends = element("p", { className: list.length > 1 ? "chart-ends" : "chart-ends is-one" });
    ends.append(element("span", { textContent: list[0]?.label ?? "" }), element("span", { textContent: list.length > 1 ? list.at(-1).label : "" }));
    return element("figure", { className: "measure" },
      element("figcaption", {}, element("span", { textContent: title }), element("strong", { textContent: format(all[name]) })),
      picture, ends);
  }

  function table(models) {
    const rows = [...models].sort(([, a], [, b]) => b.outputs - a.outputs);
    const rest = rows.slice(MODELS);
    const list = rows.slice(0, MODELS).map(([model, sums]) => [text.model(model), sums]);
    if (rest.length) {
      const sums = new Sums();
      for (const [, one] of rest) for (const { name } of MEASURES) sums[name] += one[name];
      list.push([`${text.count(rest.length)} more`, sums]);
    }
    const most = Object.fromEntries(MEASURES.map(({ name }) => [name, Math.max(...list.map(([, sums]) => sums[name]), 0)]));
    const head = element("tr", {}, element("th", { scope: "col", textContent: "Model" }));
    for (const { title } of MEASURES) head.append(element("th", { scope: "col", textContent: title, className: "number" }));
    const body = list.map(([label, sums]) => {
      const name = element("th", { scope: "row" }, element("bdi", { textContent: label }));
      const cells = MEASURES.map((measure) => cell(measure, sums, most));
      return element("tr", {}, name, ...cells);
    });
    return element("table", { className: "models" },
      element("caption", { textContent: "By model", className: "unseen" }),
      element("thead", {}, head), element("tbody", {}, ...body));
  }

  function cell({ name, format }, sums, most) {
    const width = most[name] ? (100 * sums[name]) / most[name] : 0;
    const bar = drawing("svg", { class: "cell-bar", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" },
      drawing("rect", { class: "chart-track", x: 0, y: 0, width: 100, height: 4 }),
      drawing("rect", { class: "chart-bar", x: 0, y: 0, width, height: 4 }));
    return element("td", { className: "number" }, element("span", { textContent: format(sums[name]) }), bar);
  }

  /** When a snapshot was taken, by its name; "" for a name that is none. */
  function takenAt(file) {
    const parts = /^(\d{4})(\d\d)(\d\d)t(\d\d)(\d\d)(\d\d)z-/.exec(file);
    return parts ? text.moment(`${parts[1]}-${parts[2]}-${parts[3]}T${parts[4]}:${parts[5]}:${parts[6]}Z`) : "";
  }

  function fileLink(href, name) {
    return element("a", { href, textContent: name, target: "_blank", rel: "noopener noreferrer" });
  }

  /** The projects' canvases: their newest snapshots, and the folder with all of them. */
  function canvasList() {
    const items = store.canvases.filter(({ files }) => files.length).map((canvas) => {
      const project = text.project(canvas.project);
      const newest = [[".mmd", "Diagram"], [".json", "Nodes"]].flatMap(([ending, name]) => {
        const file = canvas.files.find((one) => one.endsWith(ending));
        return file ? [fileLink(store.canvasUrl(canvas, file), name)] : [];
      });
      const all = fileLink(store.canvasUrl(canvas), text.things(canvas.files.length, "snapshot"));
      const taken = element("small", { textContent: takenAt(canvas.files[0]) });
      return element("li", {}, element("bdi", { textContent: project }), taken, ...newest, all);
    });
    return items.length
      ? [element("section", { className: "canvases" }, element("h2", { textContent: "Canvases" }), element("ul", {}, ...items))]
      : [];
  }

  floradl.summary = {
    /** What some outputs come to, all together. */
    total(items) {
      const all = new Sums();
      for (const item of items) all.add(item);
      return all;
    },

    show(items) {
      const { all, steps, models } = sumUp(items);
      box.replaceChildren(
        element("div", { className: "measures" }, ...MEASURES.map((measure) => chart(measure, steps, all))),
        table(models),
        ...canvasList(),
      );
    },
  };
}
