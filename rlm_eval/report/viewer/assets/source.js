// Where samples and trajectories come from: this file, or the local server.
const decode = (columns) => {
  const rows = [];
  const names = Object.keys(columns).map((name) => [name, columns[name], Array.isArray(columns[name][1])]);
  for (let at = 0; at < columns.sample.length; at += 1) {
    const row = {};
    for (const [name, column, coded] of names) row[name] = coded ? column[0][column[1][at]] : column[at];
    row.key = `${row.run}/${row.cell}/${row.sample}/${row.epoch}`;
    row.same = `${row.task}\n${row.sample}`;
    row.text = `${row.sample} ${row.task} ${row.length} ${row.method} ${row.model} ${row.outcome} ${row.failure}`.toLowerCase();
    rows.push(row);
  }
  return rows;
};
const ask = async (what, query) => {
  const answer = await fetch(`${what}?${new URLSearchParams({ ...query, key: data.key })}`);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
};
const isServed = data.source === "server";
const items = new Map((data.items || []).map((item) => [item.key, item]));
const textsOf = (item) => {
  const found = [];
  const add = (number) => {
    const text = number === null || number === undefined ? "" : data.texts[number];
    found.push(typeof text === "string" ? text : text.head);
  };
  [item.question, item.target, item.answer].forEach(add);
  item.calls.forEach((call) => add(call.reply));
  item.steps.forEach((step) => { add(step.code); add(step.stdout); });
  return found.join("\n").toLowerCase();
};
const source = isServed ? {
  get: (sample) => ask("trajectory", { sample }),
  search: async (words) => new Set((await ask("search", { words })).found),
} : {
  get: async (sample) => {
    if (!items.has(sample)) throw new Error("absent");
    return { item: items.get(sample), texts: data.texts };
  },
  search: async (words) => {
    const asked = words.toLowerCase();
    return new Set([...items.values()].filter((item) => textsOf(item).includes(asked)).map((item) => item.key));
  },
};
// Trajectories that were opened last: a step back is at once there.
const kept = new Map();
const fetchTrajectory = async (row) => {
  const before = kept.get(row.key);
  if (before && before.outcome === row.outcome && row.outcome !== "running") return before;
  const found = { ...await source.get(row.key), outcome: row.outcome };
  kept.set(row.key, found);
  if (kept.size > 12) kept.delete(kept.keys().next().value);
  return found;
};
