// Texts for people: numbers, dates, names, and what strangers wrote, made harmless.
"use strict";

{
  const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;
  const CONTROLS_BUT_LINES = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;
  const DIRECTIONS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
  const UNITS = ["B", "kB", "MB", "GB", "TB"];

  const count = new Intl.NumberFormat("en");
  const dayFormat = new Intl.DateTimeFormat("en-GB", {
    weekday: "long", day: "numeric", month: "long", year: "numeric",
  });
  const momentFormat = new Intl.DateTimeFormat("en-GB", {
    day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit",
  });
  const shortDayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
  const monthFormat = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric" });
  const shortMonthFormat = new Intl.DateTimeFormat("en-GB", { month: "short", year: "numeric" });

  const text = (floradl.text = {
    /** One line of a stranger's text: no control characters, none that turn the line around. */
    line: (value) => String(value).replace(CONTROLS, "\ufffd").replace(DIRECTIONS, "\ufffd"),

    /** A stranger's text with its lines and tabs. */
    lines: (value) =>
      String(value)
        .replace(/\r\n?|[\u2028\u2029]/g, "\n")
        .replace(CONTROLS_BUT_LINES, "\ufffd")
        .replace(DIRECTIONS, "\ufffd"),

    count: (number) => count.format(number),

    /** `1 output`, `2 outputs`. */
    things: (number, noun) => `${count.format(number)} ${noun}${number === 1 ? "" : "s"}`,

    /** Bytes in powers of 1000, as the command says them. */
    bytes(size) {
      let unit = 0;
      let value = size;
      while (value >= 999.5 && unit < UNITS.length - 1) {
        value /= 1000;
        unit += 1;
      }
      return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
    },

    dollars: (cost) => `$${cost >= 1 ? count.format(Number(cost.toFixed(2))) : cost.toFixed(3)}`,

    day: (item) => (item.run.day ? dayFormat.format(item.run.created) : "Without a date"),

    moment: (value) => {
      const date = new Date(value);
      return Number.isNaN(date.getTime()) ? text.line(value) : momentFormat.format(date);
    },

    /** A day given by any moment of it in UTC. */
    shortDay: (moment) => shortDayFormat.format(moment),

    shortMonth: (key) => shortMonthFormat.format(new Date(`${key}-15T12:00`)),

    month: (key) => (key === "undated" ? "Without a date" : monthFormat.format(new Date(`${key}-15T12:00`))),

    /** What a project or workspace is called: its name, or its id. */
    project: (id) => text.line(floradl.store.projects.get(id) || id || "No project"),
    workspace: (id) => text.line(floradl.store.workspaces.get(id) || id || "No workspace"),
    model: (id) => text.line(id || "No model"),
    technique: (id) => text.line(floradl.store.techniques.get(id) || id || "No technique"),

    /** What made an output, or what an upload is called. */
    title(run) {
      if (run.isUploaded) return text.line(run.name || "Uploaded file");
      return run.model || !run.technique ? text.model(run.model) : text.technique(run.technique);
    },
    kind: (kind) => kind[0].toUpperCase() + kind.slice(1),
  });

  /** An element with text and children; the only way in which this page makes any. */
  floradl.element = (name, properties = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
      if (key.includes("-") || key === "role") node.setAttribute(key, value);
      else node[key] = value;
    }
    node.append(...children);
    return node;
  };

  const SVG = "http://www.w3.org/2000/svg";

  /** An element of a drawing. */
  floradl.drawing = (name, attributes = {}, ...children) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  floradl.icon = (name) =>
    floradl.drawing("svg", { class: "icon", "aria-hidden": "true" }, floradl.drawing("use", { href: `#icon-${name}` }));
}
