// Which outputs the filters and the search leave, in which order, and how many there are of each choice.
"use strict";

{
  const NAMES = floradl.route.SETS;
  const VALUES = {
    type: (item) => item.kind,
    workspace: (item) => item.run.place.workspace,
    project: (item) => item.run.place.project,
    model: (item) => item.run.model ?? "",
    technique: (item) => item.run.technique ?? "",
    month: (item) => item.run.month,
    origin: (item) => (item.run.isUploaded ? "uploaded" : "generated"),
    state: (item) => (item.form === "failed" ? "failed" : item.run.isVanished ? "vanished" : "archived"),
  };
  const SORTS = {
    cost: (item) => item.run.cost ?? -1,
    size: (item) => item.bytes,
  };

  // Each value has a number, and each output those of its values, made once.
  const numbers = new Map(NAMES.map((name) => [name, new Map()]));
  const columns = NAMES.map(() => new Int32Array(1024));
  let numbered = 0;

  function numberOf(name, value) {
    const known = numbers.get(name);
    let number = known.get(value);
    if (number === undefined) {
      number = known.size;
      known.set(value, number);
    }
    return number;
  }

  function numberItems(items) {
    for (; numbered < items.length; numbered += 1) {
      NAMES.forEach((name, place) => {
        if (numbered >= columns[place].length) {
          const longer = new Int32Array(columns[place].length * 2);
          longer.set(columns[place]);
          columns[place] = longer;
        }
        columns[place][numbered] = numberOf(name, VALUES[name](items[numbered]));
      });
    }
  }

  function searchable(item) {
    const { run } = item;
    run.searchable ??= [
      run.id,
      run.model ?? "",
      run.name,
      run.technique ?? "",
      floradl.store.techniques.get(run.technique) ?? "",
      run.place.workspace,
      run.place.project,
      floradl.store.workspaces.get(run.place.workspace) ?? "",
      floradl.store.projects.get(run.place.project) ?? "",
    ]
      .join("\n")
      .toLowerCase();
    const own = item.longText ?? item.text;
    const label = item.longLabel ?? item.label;
    if (item.searchableOf !== own || item.searchableLabel !== label) {
      item.searchableOf = own;
      item.searchableLabel = label;
      item.searchable = `${item.key}\n${own}\n${label}`.toLowerCase();
    }
    return item;
  }

  function matcher(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return () => true;
    return (item) => {
      searchable(item);
      return words.every((word) => item.run.searchable.includes(word) || item.searchable.includes(word));
    };
  }

  /**
   * Everything that a state leaves.
   *
   * Returns `items` in order, and `counts`: for each filter, how many outputs each value would leave if it alone
   * were chosen there and all other filters stayed.
   */
  floradl.query = (state) => {
    const { items } = floradl.store;
    numberItems(items);
    const chosen = NAMES.map((name) => {
      if (!state[name].size) return null;
      const flags = new Uint8Array(numbers.get(name).size);
      for (const [value, number] of numbers.get(name)) if (state[name].has(value)) flags[number] = 1;
      return flags;
    });
    const sums = NAMES.map((name) => new Int32Array(numbers.get(name).size));
    const matches = matcher(state.q);
    const found = [];
    for (let index = 0; index < items.length; index += 1) {
      let missed = -1;
      let misses = 0;
      for (let place = 0; place < NAMES.length && misses < 2; place += 1) {
        if (chosen[place] && !chosen[place][columns[place][index]]) {
          missed = place;
          misses += 1;
        }
      }
      if (misses > 1 || !matches(items[index])) continue;
      if (misses === 1) {
        sums[missed][columns[missed][index]] += 1;
        continue;
      }
      found.push(items[index]);
      for (let place = 0; place < NAMES.length; place += 1) sums[place][columns[place][index]] += 1;
    }
    return { items: sorted(found, state.sort), counts: counted(sums) };
  };

  function sorted(items, sort) {
    if (sort === "oldest") return items.reverse();
    const key = SORTS[sort];
    return key ? items.sort((a, b) => key(b) - key(a)) : items;
  }

  function counted(sums) {
    const counts = {};
    NAMES.forEach((name, place) => {
      counts[name] = new Map([...numbers.get(name)].map(([value, number]) => [value, sums[place][number]]));
    });
    return counts;
  }
}
