// Puts the parts together: whenever data come or the state changes, ask once and show everything.
"use strict";

{
  const { store, text, route, grid, filters, summary, viewer } = floradl;
  const REFRESH_MS = 350; // between two looks at what came, while shelves are still coming

  const byId = (id) => document.getElementById(id);
  const sort = byId("sort");
  const summaryButton = byId("summary-button");
  let isStarted = false;
  let timer = 0;
  let refreshedAt = 0;

  /** Ask and show. `isSame`: whether only data came. */
  function refresh(isSame) {
    clearTimeout(timer);
    timer = 0;
    refreshedAt = performance.now();
    const { state } = route;
    const { items, counts } = floradl.query(state);
    const isAppended = isSame && state.sort === "newest";
    grid.show(items, { isByDay: state.sort === "newest" || state.sort === "oldest", isSame: isAppended });
    filters.show(state, counts);
    sort.value = state.sort;
    summaryButton.setAttribute("aria-expanded", String(state.summary));
    byId("summary").hidden = !state.summary;
    if (state.summary) summary.show(items);
    showCounts(state, items);
    viewer.show(state);
  }

  function showCounts(state, items) {
    const isFiltered = items.length !== store.items.length;
    const all = summary.total(items);
    const parts = [
      isFiltered ? `${text.count(items.length)} of ${text.things(store.total, "output")}` : text.things(items.length, "output"),
      text.bytes(all.bytes),
    ];
    if (all.dollars >= 0.0005) parts.push(text.dollars(all.dollars));
    if (!store.isComplete) parts.push("still loading…");
    else if (state.run !== null && !store.runs.has(state.run)) parts.push("the run in this address is not here");
    const line = parts.join(" · ");
    if (byId("found").textContent !== line) byId("found").textContent = line;
    const nothing = byId("nothing");
    nothing.hidden = items.length > 0 || !store.isComplete;
    nothing.textContent = store.total ? "Nothing fits. Take a filter away, or search for something else." : "There is nothing in this archive yet.";
    if (store.broken) showBroken();
  }

  function showBroken() {
    const nothing = byId("nothing");
    nothing.hidden = false;
    nothing.textContent = "Some of the gallery’s files are missing. `floradl gallery` makes them again; then reload this page.";
  }

  store.onIndex = () => {
    isStarted = true;
    filters.findNamesakes();
    byId("scanned").hidden = !store.scannedAt;
    byId("scanned").textContent = `As FLORA was on ${text.moment(store.scannedAt)}`;
  };

  store.onChange = () => {
    const { state } = route;
    if (state.q && store.hasTexts) store.loadTexts();
    const isFirst = refreshedAt === 0;
    const wait = REFRESH_MS - (performance.now() - refreshedAt);
    if (isFirst || wait <= 0 || store.isComplete) refresh(!isFirst);
    else timer ||= setTimeout(() => refresh(true), wait);
  };

  route.onChange = (state, before) => {
    const isOtherQuery = state.q !== before.q || state.sort !== before.sort
      || route.SETS.some((name) => [...state[name]].join("\n") !== [...before[name]].join("\n"));
    if (isOtherQuery && state.q && store.hasTexts) store.loadTexts();
    if (isOtherQuery) {
      if (window.scrollY > byId("main").offsetTop) window.scrollTo(0, 0);
      refresh(false);
    } else if (state.summary !== before.summary) {
      refresh(true);
    } else {
      viewer.show(state);
    }
  };

  sort.addEventListener("change", () => route.change({ sort: sort.value }, { isStep: true }));
  summaryButton.addEventListener("click", () => route.change({ summary: !route.state.summary }, { isStep: true }));
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    grid.focusCurrent();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || byId("viewer").open) return;
    if (event.target.matches("input, select, textarea")) return;
    event.preventDefault();
    byId("query").focus();
    byId("query").select();
  });

  window.addEventListener("load", () => {
    if (!isStarted) {
      store.broken = 1;
      showBroken();
    }
  });
}
