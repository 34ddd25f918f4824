// What is shown is in the address: filters, order, page, sample, call, block, second sample.
const { h, render } = preact;
const { useEffect, useLayoutEffect, useMemo, useRef, useState } = preactHooks;
const CHOICES = ["task", "length", "method", "model", "outcome", "failure", "run", "cell"];
const RANGES = ["score", "cost", "calls", "seconds"];
const PLACES = ["sample", "call", "step", "beside"];
const EMPTY = {
  ...Object.fromEntries(CHOICES.map((name) => [name, []])),
  ...Object.fromEntries([...RANGES, ...PLACES, "words", "better", "sort"].map((name) => [name, ""])),
  page: 0,
};
const readState = (hash) => {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const state = { ...EMPTY };
  for (const name of CHOICES) state[name] = given.getAll(name);
  for (const name of [...RANGES, ...PLACES, "words", "better", "sort"]) state[name] = given.get(name) || "";
  state.page = Math.max(0, parseInt(given.get("page") || "1", 10) - 1 || 0);
  const cell = (data.cells || [])[parseInt(given.get("c"), 10)]; // a number of a report's tables
  if (cell) {
    [state.task, state.length, state.method] = cell.map((value) => [value]);
    state.sort = state.sort || "score";
  }
  return state;
};
const writeState = (state) => {
  const told = new URLSearchParams();
  for (const name of CHOICES) state[name].forEach((value) => told.append(name, value));
  for (const name of [...RANGES, "words", "better", "sort", ...PLACES]) if (state[name]) told.set(name, state[name]);
  if (state.page) told.set("page", state.page + 1);
  const text = told.toString();
  return `#${text || "all="}`;
};
const isState = (hash) => hash.includes("=");

// ---- which samples, in which order
const range = (text) => {
  const asked = text.trim();
  const limit = /^(<=|>=|<|>|=)?\s*(-?[\d.]+(?:e-?\d+)?)$/i.exec(asked);
  const between = /^(-?[\d.]+)\s*(?:\.\.|to)\s*(-?[\d.]+)$/i.exec(asked);
  if (/^none$/i.test(asked)) return (value) => value === null;
  if (between) return (value) => value !== null && value >= +between[1] && value <= +between[2];
  if (!limit) return () => true;
  const bound = +limit[2];
  const holds = { "<": (v) => v < bound, ">": (v) => v > bound, "<=": (v) => v <= bound, ">=": (v) => v >= bound };
  const test = holds[limit[1]] || ((v) => Math.abs(v - bound) <= 5e-4 * Math.abs(bound));
  return (value) => value !== null && test(value);
};
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const won = (rows, better) => {
  // Samples on which one method's mean score is above that of every other one shown.
  const scores = new Map();
  for (const row of rows) {
    if (row.score === null) continue;
    const of = scores.get(row.same) || new Map();
    of.set(row.method, [...(of.get(row.method) || []), row.score]);
    scores.set(row.same, of);
  }
  const holds = new Set();
  for (const [same, of] of scores) {
    const own = of.has(better) ? mean(of.get(better)) : null;
    const others = [...of].filter(([method]) => method !== better).map(([, values]) => mean(values));
    if (own !== null && others.length && others.every((other) => own > other)) holds.add(same);
  }
  return rows.filter((row) => holds.has(row.same));
};
const select = (rows, state, found) => {
  const choices = CHOICES.filter((name) => state[name].length).map((name) => [name, new Set(state[name])]);
  const ranges = RANGES.filter((name) => state[name]).map((name) => [name, range(state[name])]);
  const words = state.words.toLowerCase();
  let kept = rows.filter((row) =>
    choices.every(([name, values]) => values.has(row[name])) &&
    ranges.every(([name, holds]) => holds(row[name])) &&
    (!words || row.text.includes(words) || (found !== null && found.has(row.key))));
  if (state.better) kept = won(kept, state.better);
  const down = state.sort.startsWith("-");
  const name = state.sort.replace(/^-/, "");
  if (!name || !rows.length || !(name in rows[0])) return kept;
  const by = name === "length" ? "tokens" : name;
  const empty = (value) => value === null || value === "";
  return [...kept].sort((a, b) => {
    if (empty(a[by]) || empty(b[by])) return empty(a[by]) - empty(b[by]); // unknown comes last
    return down ? order(b[by], a[by]) : order(a[by], b[by]);
  });
};
