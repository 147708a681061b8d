// The filters beside the grid: choices with counts, chips of those in use, and the search.
"use strict";

{
  const { element, icon, store, text, route } = floradl;
  const SHOWN = 8;
  const KINDS = ["image", "video", "audio", "text", "document", "other"];
  const STATES = { failed: "Not archived", vanished: "Not at FLORA any more" };
  const ORIGINS = { generated: "Generated", uploaded: "Uploaded" };
  const byName = (names) => (a, b) => names(a).localeCompare(names(b), "en", { numeric: true });

  const FACETS = [
    { name: "type", title: "Type", label: text.kind, order: () => (a, b) => KINDS.indexOf(a) - KINDS.indexOf(b) },
    { name: "project", title: "Project", label: projectLabel, order: () => byName(text.project) },
    { name: "model", title: "Model", label: text.model, order: () => byName(text.model) },
    { name: "technique", title: "Technique", label: text.technique, order: () => byName(text.technique), skips: [""], isNamedLater: true },
    { name: "month", title: "Month", label: text.month, order: () => (a, b) => (a === "undated") - (b === "undated") || (a < b ? 1 : -1) },
    { name: "workspace", title: "Workspace", label: text.workspace, order: () => byName(text.workspace), fewest: 2 },
    { name: "origin", title: "Origin", label: (value) => (Object.hasOwn(ORIGINS, value) ? ORIGINS[value] : text.line(value)), order: () => (a, b) => (a < b ? -1 : 1), fewest: 2 },
    { name: "state", title: "State", label: (value) => (Object.hasOwn(STATES, value) ? STATES[value] : text.line(value)), order: () => (a, b) => (a < b ? -1 : 1), skips: ["archived"] },
  ];

  const box = document.getElementById("facets");
  const query = document.getElementById("query");
  const panel = document.getElementById("filters");
  const opener = document.getElementById("filters-button");
  let namesakes = new Set();

  /** A project's name; with its id where another has the same. */
  function projectLabel(id) {
    const name = text.project(id);
    return namesakes.has(name) ? `${name} (${text.line(id).slice(-6)})` : name;
  }

  function findNamesakes() {
    const seen = new Set();
    namesakes = new Set();
    for (const id of store.projects.keys()) {
      const name = text.project(id);
      if (seen.has(name)) namesakes.add(name);
      seen.add(name);
    }
  }

  function build(facet) {
    const group = element("fieldset", { className: "facet" });
    const list = element("ul");
    const more = element("button", { type: "button", className: "facet-more", hidden: true });
    group.append(element("legend", { textContent: facet.title }), list, more);
    Object.assign(facet, { group, list, more, choices: new Map(), isWhole: false });
    more.addEventListener("click", () => {
      facet.isWhole = !facet.isWhole;
      arrange(facet);
    });
    box.append(group);
  }

  function choiceOf(facet, value) {
    const input = element("input", { type: "checkbox" });
    const name = element("bdi", { className: "choice-name" });
    const count = element("span", { className: "choice-count" });
    const label = element("label", {}, input, name, count);
    const item = element("li", {}, label);
    name.textContent = facet.label(value);
    name.title = name.textContent;
    input.addEventListener("change", () => route.toggle(facet.name, value, input.checked));
    return { item, input, name, count, value };
  }

  function arrange(facet) {
    const chosen = route.state[facet.name];
    const skipped = facet.skips ?? [];
    const values = [...facet.choices.keys()].filter((value) => !skipped.includes(value)).sort(facet.order());
    const shown = facet.isWhole || values.length <= SHOWN + 1
      ? values
      : values.filter((value, place) => place < SHOWN || chosen.has(value));
    const wanted = shown.map((value) => facet.choices.get(value).item);
    if (wanted.length !== facet.list.childElementCount || wanted.some((item, place) => facet.list.children[place] !== item)) {
      facet.list.replaceChildren(...wanted);
    }
    facet.more.hidden = values.length <= SHOWN + 1;
    facet.more.textContent = facet.isWhole ? "Show fewer" : `Show all ${text.count(values.length)}`;
    facet.group.hidden = values.length < (facet.fewest ?? 1);
  }

  function chip(name, value, label) {
    const button = element("button", { type: "button", className: "chip" });
    button.append(element("bdi", { textContent: label }), icon("close"), element("span", { className: "unseen", textContent: ": remove this filter" }));
    button.addEventListener("click", () => {
      if (name === "q") route.change({ q: "" }, { isStep: true });
      else route.toggle(name, value, false);
      query.focus();
    });
    return element("li", {}, button);
  }

  function showChips(state) {
    const chips = FACETS.flatMap((facet) => [...state[facet.name]].map((value) => chip(facet.name, value, facet.label(value) ?? text.line(value))));
    if (state.q) chips.unshift(chip("q", "", `“${text.line(state.q)}”`));
    if (chips.length > 1) {
      const all = element("button", { type: "button", className: "chip clear", textContent: "Clear all" });
      all.addEventListener("click", () => {
        route.clear();
        query.focus();
      });
      chips.push(element("li", {}, all));
    }
    const list = document.getElementById("chips");
    list.replaceChildren(...chips);
    list.hidden = !chips.length;
    const chosen = chips.length - (chips.length > 1);
    opener.classList.toggle("is-on", chosen > 0);
  }

  let timer = 0;
  query.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => route.change({ q: query.value }), 120);
  });

  function openPanel(isOpen) {
    panel.classList.toggle("is-open", isOpen);
    document.body.classList.toggle("has-panel", isOpen);
    opener.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) document.getElementById("filters-close").focus();
    else if (panel.contains(document.activeElement)) opener.focus();
  }

  opener.addEventListener("click", () => openPanel(!panel.classList.contains("is-open")));
  document.getElementById("filters-close").addEventListener("click", () => openPanel(false));
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && panel.classList.contains("is-open")) openPanel(false);
  });

  FACETS.forEach(build);

  floradl.filters = {
    /** Show a state's choices with their counts. */
    show(state, counts) {
      for (const facet of FACETS) {
        const values = counts[facet.name];
        for (const value of state[facet.name]) if (!values.has(value)) values.set(value, 0);
        for (const [value, count] of values) {
          if (!facet.choices.has(value)) facet.choices.set(value, choiceOf(facet, value));
          const choice = facet.choices.get(value);
          choice.input.checked = state[facet.name].has(value);
          choice.count.textContent = text.count(count);
          if (facet.isNamedLater) choice.name.textContent = choice.name.title = facet.label(value);
          choice.item.classList.toggle("is-empty", count === 0);
        }
        arrange(facet);
      }
      showChips(state);
      if (document.activeElement !== query && query.value !== state.q) query.value = state.q;
    },

    findNamesakes,
  };
}
