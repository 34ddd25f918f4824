// The list of samples: columns that sort, a filter under each, words, pages; and the table of scores.
const PAGE = 100;
const COLUMNS = [
  ["task"], ["length"], ["method"], ["model"], ["outcome"], ["score", score3], ["cost", money],
  ["calls", (value) => value === null ? "unknown" : String(value)], ["seconds", seconds], ["failure"],
];
const HINT = { score: "<1", cost: ">0.01", calls: ">5", seconds: "1..10" };
const LABEL = { cost: "cost, USD" };
const choicesOf = (rows) => Object.fromEntries(CHOICES.map((name) => {
  const tokens = new Map(rows.map((row) => [row[name], name === "length" ? row.tokens : row[name]]));
  return [name, [...tokens].sort((a, b) => order(a[1] ?? -1, b[1] ?? -1)).map(([value]) => value).filter((value) => value !== "")];
}));
const Choice = ({ name, state, choices, go }) => h("select", {
  id: `by-${name}`, "aria-label": `filter by ${name}`, value: state[name].length > 1 ? "several" : state[name][0] || "",
  onChange: (event) => go({ [name]: event.currentTarget.value ? [event.currentTarget.value] : [], better: "", page: 0 }),
}, h("option", { value: "" }, "all"), state[name].length > 1 ? h("option", { value: "several" }, `${state[name].length} chosen`) : null,
choices.map((value) => h("option", { value, key: value }, value)));
const Range = ({ name, state, go }) => h("input", {
  id: `by-${name}`, class: "range", value: state[name], placeholder: HINT[name], title: "<1, >=0.5, 1..10, none",
  "aria-label": `filter by ${name}`, onChange: (event) => go({ [name]: event.currentTarget.value, page: 0 }),
});
const Head = ({ columns, state, go, choices }) => h("thead", {},
  h("tr", {}, columns.map(([name]) => {
    const down = state.sort === `-${name}`;
    const up = state.sort === name;
    return h("th", { "aria-sort": up ? "ascending" : down ? "descending" : "none", key: name },
      h("button", { class: "sort", id: `sort-${name}`, onClick: () => go({ sort: up ? `-${name}` : down ? "" : name, page: 0 }) },
        LABEL[name] || name, up ? " ▲" : down ? " ▼" : ""));
  })),
  h("tr", { class: "by" }, columns.map(([name]) => h("th", { key: name }, RANGES.includes(name)
    ? h(Range, { name, state, go }) : CHOICES.includes(name) ? h(Choice, { name, state, choices: choices[name], go }) : null))));
const List = ({ rows, columns, state, go, choices, cursor }) => h("div", { class: "items", tabindex: 0 },
  h("table", {}, h(Head, { columns, state, go, choices }), h("tbody", {}, rows.map((row, at) => h("tr", {
    key: row.key, id: `row-${at}`, "data-key": row.key,
    class: `${grade(row)}${row.key === state.sample ? " on" : ""}${at === cursor ? " cursor" : ""}`,
    onClick: (event) => { if (event.target.tagName !== "A") go({ sample: row.key, call: "", step: "", beside: "" }, at); },
  }, columns.map(([name, told]) => h("td", { key: name }, name === "sample"
    ? h("a", { href: writeState({ ...state, sample: row.key, call: "", step: "", beside: "" }),
      onClick: (event) => { if (!event.ctrlKey && !event.metaKey) { event.preventDefault(); go({ sample: row.key, call: "", step: "", beside: "" }, at); } } },
    `${row.index}${row.epoch ? `.${row.epoch}` : ""}`)
    : told ? told(row[name]) : row[name])))))));

// Means of what is scored, by method and length: a click lists the samples of a cell.
const scoresOf = (rows) => {
  const runs = new Set(rows.map((row) => row.run)).size > 1;
  const tasks = new Map();
  for (const row of rows) {
    const task = tasks.get(row.task) || { lengths: new Map(), lines: new Map() };
    tasks.set(row.task, task);
    task.lengths.set(row.length, row.tokens);
    const name = runs ? `${row.method} · ${row.run}` : row.method;
    const line = task.lines.get(name) || { method: row.method, run: runs ? [row.run] : [], cells: new Map() };
    task.lines.set(name, line);
    const cell = line.cells.get(row.length) || { of: new Map(), n: 0, missing: 0, running: 0 };
    line.cells.set(row.length, cell);
    cell.n += 1;
    if (row.outcome === "running") cell.running += 1;
    else if (row.score === null) cell.missing += 1;
    else cell.of.set(row.same, [...(cell.of.get(row.same) || []), row.score]);
  }
  return tasks;
};
const Scores = ({ rows, go }) => {
  const tasks = useMemo(() => scoresOf(rows), [rows]);
  const open = (task, length, line) => go({ ...EMPTY, task: [task], length: [length], method: [line.method], run: line.run, sort: "score" });
  return h("div", { class: "pivots", id: "score-table" }, [...tasks].map(([task, { lengths, lines }]) => {
    const shown = [...lengths].sort((a, b) => (a[1] ?? -1) - (b[1] ?? -1)).map(([length]) => length);
    return h("div", { class: "scroll", key: task }, h("table", { class: "pivot" }, h("caption", {}, task),
      h("thead", {}, h("tr", {}, h("th", {}, "method"), shown.map((length) => h("th", {}, length)))),
      h("tbody", {}, [...lines].map(([name, line]) => h("tr", { key: name }, h("th", { scope: "row" }, name), shown.map((length) => {
        const cell = line.cells.get(length);
        if (!cell) return h("td", {});
        const value = cell.of.size ? 100 * mean([...cell.of.values()].map(mean)) : null;
        const rest = [cell.missing ? `${cell.missing} missing` : "", cell.running ? `${cell.running} running` : ""].filter(Boolean);
        return h("td", { style: `--shade:${Math.round(value || 0)}%` }, h("a", {
          href: writeState({ ...EMPTY, task: [task], length: [length], method: [line.method], run: line.run, sort: "score" }),
          onClick: (event) => { event.preventDefault(); open(task, length, line); },
        }, value === null ? "none" : value.toFixed(1), h("small", {}, [`n = ${cell.n}`, ...rest].join(", "))));
      }))))));
  }));
};
