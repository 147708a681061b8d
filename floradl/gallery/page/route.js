// What is shown stands in the address's fragment: filters, search, sorting, the output in the viewer.
//
// The state here comes first and the address follows, so that holding an arrow key down costs no navigation a
// picture. What comes from the address may be anything; values that mean nothing match nothing.
"use strict";

{
  const SETS = ["type", "workspace", "project", "model", "technique", "month", "origin", "state"];
  const SORTS = ["newest", "oldest", "cost", "size"];
  const WRITE_AFTER_MS = 250;
  const EMPTY = "#all"; // a bare # would scroll to the top

  const route = (floradl.route = {
    SETS,
    state: null,
    onChange: () => {},
  });
  let timer = 0;
  let written = "";

  function parse(fragment) {
    const values = new URLSearchParams(fragment.replace(/^#/, ""));
    const state = {
      q: values.get("q") ?? "",
      sort: SORTS.includes(values.get("sort")) ? values.get("sort") : "newest",
      summary: values.get("summary") === "1",
      run: values.get("run"),
      output: values.get("output"),
    };
    for (const name of SETS) state[name] = new Set(values.getAll(name));
    return state;
  }

  /** The fragment of a state, with its `#`. */
  function format(state) {
    const values = new URLSearchParams();
    if (state.q) values.set("q", state.q);
    for (const name of SETS) for (const value of state[name]) values.append(name, value);
    if (state.sort !== "newest") values.set("sort", state.sort);
    if (state.summary) values.set("summary", "1");
    if (state.run !== null) values.set("run", state.run);
    if (state.run !== null && state.output !== null) values.set("output", state.output);
    return `#${values}` === "#" ? EMPTY : `#${values}`;
  }

  function write() {
    clearTimeout(timer);
    timer = 0;
    const fragment = format(route.state);
    if (fragment === written) return;
    written = fragment;
    if ((location.hash || EMPTY) !== fragment) location.replace(fragment);
  }

  /** The fragment of the present state with some changes. */
  route.with = (changes) => format({ ...route.state, ...changes });

  /** Change the state and what is shown. `isStep`: whether the back button should undo it. */
  route.change = (changes, { isStep = false } = {}) => {
    const fragment = route.with(changes);
    if (isStep) {
      if (timer) write();
      location.hash = fragment; // comes back as an event, as a link's would
      return;
    }
    const before = route.state;
    route.state = { ...route.state, ...changes };
    clearTimeout(timer);
    timer = setTimeout(write, WRITE_AFTER_MS);
    route.onChange(route.state, before);
  };

  /** Put the address in order now, before something leaves it. */
  route.settle = () => {
    if (timer) write();
  };

  /** Add or take out one value of a filter. */
  route.toggle = (name, value, isOn) => {
    const values = new Set(route.state[name]);
    if (isOn) values.add(value);
    else values.delete(value);
    route.change({ [name]: values }, { isStep: true });
  };

  route.clear = () => {
    const changes = { q: "" };
    for (const name of SETS) changes[name] = new Set();
    route.change(changes, { isStep: true });
  };

  window.addEventListener("hashchange", () => {
    if ((location.hash || EMPTY) === written) return;
    const before = route.state;
    clearTimeout(timer);
    timer = 0;
    route.state = parse(location.hash);
    written = location.hash || EMPTY;
    route.onChange(route.state, before);
  });

  route.state = parse(location.hash);
  written = location.hash || EMPTY;
}
