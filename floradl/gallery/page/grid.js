// The grid: rows of equal height, grouped by day, of which only those near the window exist.
//
// Each row's place is computed from the outputs' known sizes, so nothing moves when pictures arrive. One tile at
// a time can be reached with Tab; the arrow keys go on from there.
"use strict";

{
  const { element, text, tiles } = floradl;
  const GAP = 6;
  const DAY_HEAD = 52;
  const DAY_GAP = 18;
  const NO_HEAD = 4;
  const NEARLY = 0.84; // of the width: what comes that near fills it, somewhat higher than the others
  const OVERSCAN = 0.75; // of a window's height, above and below
  const BUDGET_MS = 8; // for new tiles in one frame; what is in the window comes first

  const box = document.getElementById("grid");
  const canvas = element("div", { className: "canvas" });
  box.append(canvas);

  let items = [];
  let placeOf = new Map(); // of an item among the items
  let groups = []; // { key, top, height, firstRow, rows, first, count }
  let rows = []; // { top, height, first, count, group }
  let width = 0;
  let current = 0;
  let isGrouped = true;
  let frame = 0;
  let onOpen = () => {};
  const sections = new Map(); // of groups that are in the document
  const shown = new Map(); // tiles in the document, by the number of the item
  const placed = new WeakMap(); // of a tile: its item, and the row it was made for

  const rowHeight = () => (width < 480 ? 128 : width < 800 ? 168 : width < 1500 ? 196 : 236);

  /** Where everything stands, for the present width. */
  function layOut() {
    groups = [];
    rows = [];
    const target = rowHeight();
    const head = isGrouped ? DAY_HEAD : NO_HEAD;
    let top = 0;
    let first = 0;
    while (first < items.length) {
      const day = items[first].run.day;
      let end = first + 1;
      while (end < items.length && (!isGrouped || items[end].run.day === day)) end += 1;
      const group = { key: isGrouped ? day : "all", top, height: 0, first, count: end - first, firstRow: rows.length };
      let below = head;
      for (let start = first; start < end; ) {
        let shapes = 0;
        let stop = start;
        while (stop < end && (stop === start || shapes * target + (stop - start - 1) * GAP < width)) {
          shapes += tiles.shape(items[stop]);
          stop += 1;
        }
        const free = width - (stop - start - 1) * GAP;
        const isFull = shapes * target >= free * NEARLY;
        // The last of a row may have made it much lower than the others: then it begins the next one.
        if (shapes * target >= free && stop - start > 1 && free / shapes < target * 0.78) {
          const without = shapes - tiles.shape(items[stop - 1]);
          if ((free + GAP) / without < target * 1.32) {
            shapes = without;
            stop -= 1;
          }
        }
        const fitting = (width - (stop - start - 1) * GAP) / shapes;
        const height = Math.min(isFull ? fitting : Math.min(target, fitting), target * 1.5);
        rows.push({ top: top + below, height, first: start, count: stop - start, group });
        below += height + GAP;
        start = stop;
      }
      group.height = below - GAP;
      group.rows = rows.length - group.firstRow;
      groups.push(group);
      top += group.height + (isGrouped ? DAY_GAP : 0);
      first = end;
    }
    canvas.style.height = `${Math.max(0, top)}px`;
  }

  /** The first row whose end is below a height. */
  function rowAt(height) {
    let low = 0;
    let high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].top + rows[middle].height < height) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  const rowOf = (number) => {
    let low = 0;
    let high = rows.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (rows[middle].first <= number) low = middle;
      else high = middle - 1;
    }
    return low;
  };

  function sectionOf(group) {
    let section = sections.get(group.key);
    if (section) return section;
    const list = element("ul");
    section = { node: element("section", { className: "day" }), list, group };
    if (isGrouped) {
      const heading = element("h2", { id: `day-${group.key}` });
      heading.append(
        element("span", { textContent: text.day(items[group.first]) }),
        element("small", { textContent: text.things(group.count, "output") }),
      );
      section.node.setAttribute("aria-labelledby", heading.id);
      section.node.append(heading);
    } else {
      section.node.setAttribute("aria-label", "Sorted outputs");
    }
    section.node.append(list);
    section.node.style.top = `${group.top}px`; // not a transform, which its sticky heading would not heed
    section.node.style.height = `${group.height}px`;
    sections.set(group.key, section);
    // In the order of days, as a screen reader reads them.
    let following = null;
    for (const other of sections.values()) {
      if (other.group.top > group.top && (!following || other.group.top < following.group.top)) following = other;
    }
    canvas.insertBefore(section.node, following ? following.node : null);
    return section;
  }

  function place(number, row) {
    const item = items[number];
    let left = 0;
    for (let before = row.first; before < number; before += 1) left += tiles.shape(items[before]) * row.height + GAP;
    const tile = tiles.make(item);
    tile.style.width = `${tiles.shape(item) * row.height}px`;
    tile.style.height = `${row.height}px`;
    tile.style.transform = `translate(${left}px, ${row.top - row.group.top}px)`;
    tile.setAttribute("aria-setsize", row.group.count);
    tile.setAttribute("aria-posinset", number - row.group.first + 1);
    tile.dataset.number = number;
    if (number === current) tile.firstChild.tabIndex = 0;
    const { list } = sectionOf(row.group);
    let following = null;
    for (const other of list.children) {
      if (Number(other.dataset.number) > number) {
        following = other;
        break;
      }
    }
    list.insertBefore(tile, following);
    shown.set(number, tile);
    placed.set(tile, { item, top: row.top, height: row.height, first: row.first });
  }

  /** Bring what is near the window into the document, and take the rest out of it. */
  function render() {
    frame = 0;
    const top = -canvas.getBoundingClientRect().top;
    const margin = window.innerHeight * OVERSCAN;
    const isIn = (row) => row.top + row.height > top && row.top < top + window.innerHeight;
    const near = [];
    for (let at = rowAt(top - margin); at < rows.length && rows[at].top < top + window.innerHeight + margin; at += 1) {
      near.push(rows[at]);
    }
    removeAllBut(near);
    const startedAt = performance.now();
    for (const row of [...near.filter(isIn), ...near.filter((one) => !isIn(one))]) {
      if (performance.now() - startedAt > BUDGET_MS) {
        renderSoon();
        break;
      }
      for (let number = row.first; number < row.first + row.count; number += 1) {
        if (!shown.has(number)) place(number, row);
      }
    }
    if (items.length && !shown.has(current)) place(current, rows[rowOf(current)]);
    for (const [key, section] of sections) {
      if (section.list.childElementCount) continue;
      section.node.remove();
      sections.delete(key);
    }
  }

  /** Take tiles out of the document that are in none of some rows, and are not in use. */
  function removeAllBut(near) {
    const first = near.length ? near[0].first : 0;
    const end = near.length ? near.at(-1).first + near.at(-1).count : 0;
    const focused = document.activeElement?.closest?.(".tile");
    for (const [number, tile] of shown) {
      if ((number >= first && number < end) || number === current || tile === focused) continue;
      if (tile.querySelector(".tile-film, audio")?.paused === false) continue;
      tile.remove();
      shown.delete(number);
    }
  }

  function renderSoon() {
    frame ||= requestAnimationFrame(render);
  }

  function clear() {
    canvas.replaceChildren();
    sections.clear();
    shown.clear();
  }

  function makeCurrent(number, { focus = false } = {}) {
    shown.get(current)?.firstChild.setAttribute("tabindex", "-1");
    current = Math.max(0, Math.min(number, items.length - 1));
    if (focus) {
      reveal(current);
      render();
      shown.get(current)?.firstChild.focus({ preventScroll: true });
    }
    shown.get(current)?.firstChild.setAttribute("tabindex", "0");
  }

  /** Scroll so that an output's row is in the window. */
  function reveal(number) {
    const row = rows[rowOf(number)];
    if (!row) return;
    const top = canvas.getBoundingClientRect().top + row.top;
    const head = document.querySelector(".bar").offsetHeight + (isGrouped ? DAY_HEAD : 8);
    if (top < head) window.scrollBy(0, top - head);
    else if (top + row.height > window.innerHeight - 8) window.scrollBy(0, top + row.height - window.innerHeight + 8);
  }

  /** The output in the row above or below whose middle is nearest. */
  function beside(number, step) {
    const at = rowOf(number);
    const row = rows[at];
    const other = rows[at + step];
    if (!other) return number;
    const middleOf = (line, wanted) => {
      let left = 0;
      for (let before = line.first; before < wanted; before += 1) left += tiles.shape(items[before]) * line.height + GAP;
      return left + (tiles.shape(items[wanted]) * line.height) / 2;
    };
    const middle = middleOf(row, number);
    let best = other.first;
    for (let next = other.first; next < other.first + other.count; next += 1) {
      if (Math.abs(middleOf(other, next) - middle) < Math.abs(middleOf(other, best) - middle)) best = next;
    }
    return best;
  }

  canvas.addEventListener("keydown", (event) => {
    if (!event.target.matches(".tile-link") || event.altKey || event.ctrlKey || event.metaKey) return;
    const number = Number(event.target.parentNode.dataset.number);
    const goals = {
      ArrowLeft: () => number - 1,
      ArrowRight: () => number + 1,
      ArrowUp: () => beside(number, -1),
      ArrowDown: () => beside(number, 1),
      Home: () => 0,
      End: () => items.length - 1,
    };
    if (!Object.hasOwn(goals, event.key)) return;
    event.preventDefault();
    makeCurrent(goals[event.key](), { focus: true });
  });

  canvas.addEventListener("focusin", (event) => {
    const tile = event.target.closest(".tile");
    if (tile) makeCurrent(Number(tile.dataset.number));
  });

  canvas.addEventListener("click", (event) => {
    const link = event.target.closest(".tile-link");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) onOpen();
  });

  window.addEventListener("scroll", renderSoon, { passive: true });
  new ResizeObserver(() => {
    if (box.clientWidth === width) return renderSoon();
    const middle = rows.length ? rows[Math.min(rows.length - 1, rowAt(-canvas.getBoundingClientRect().top + 80))] : null;
    const anchor = window.scrollY > 10 && middle ? middle.first : -1;
    width = box.clientWidth;
    layOut();
    clear();
    if (anchor >= 0) {
      const top = canvas.getBoundingClientRect().top + rows[rowOf(anchor)].top;
      window.scrollBy(0, top - document.querySelector(".bar").offsetHeight - DAY_HEAD);
    }
    render();
  }).observe(box);

  floradl.grid = {
    /** Show these outputs. `isSame`: the same as before with more at the end, so what is shown may stay. */
    show(newItems, { isByDay, isSame }) {
      const before = items[current];
      items = newItems;
      isGrouped = isByDay;
      placeOf = null;
      width = box.clientWidth;
      if (!isSame) current = 0;
      else if (items[current] !== before) current = Math.max(0, items.indexOf(before));
      layOut();
      if (isSame) keepWhatStays();
      else clear();
      render();
    },

    get items() {
      return items;
    },

    /** The number of an output among those shown; -1 where it is not among them. */
    placeOf(item) {
      placeOf ??= new Map(items.map((one, number) => [one, number]));
      return placeOf.get(item) ?? -1;
    },

    focus(item) {
      const number = this.placeOf(item);
      if (number >= 0) makeCurrent(number, { focus: true });
    },

    focusCurrent() {
      if (items.length) makeCurrent(current, { focus: true });
    },

    whenOpened(work) {
      onOpen = work;
    },
  };

  /** Outputs came at the end: only what stands elsewhere now is made anew. */
  function keepWhatStays() {
    for (const [number, tile] of shown) {
      const was = placed.get(tile);
      const row = rows[rowOf(number)];
      if (items[number] === was.item && row.top === was.top && row.height === was.height && row.first === was.first) {
        tile.setAttribute("aria-setsize", row.group.count);
        continue;
      }
      tile.remove();
      shown.delete(number);
    }
    const byKey = new Map(groups.map((group) => [group.key, group]));
    for (const [key, section] of sections) {
      const group = byKey.get(key);
      if (!section.list.childElementCount || !group || group.top !== section.group.top) {
        for (const tile of section.list.children) shown.delete(Number(tile.dataset.number));
        section.node.remove();
        sections.delete(key);
        continue;
      }
      section.group = group;
      section.node.style.height = `${group.height}px`;
      const count = section.node.querySelector("small");
      if (count) count.textContent = text.things(group.count, "output");
    }
  }
}
