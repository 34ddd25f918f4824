"use strict";
// Sortable tables and the trajectory viewer. Text from data is only ever set as text content.
const data = JSON.parse(document.getElementById("data").textContent);
const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};
const size = (length) =>
  length >= 1048576 ? `${length / 1048576}M` : length >= 1024 ? `${length / 1024}k` : `${length}`;

// ---- tables
const sortKey = (text) => {
  const match = /^[\[+]?(-?[\d,.]+(?:e-?\d+)?)([kM]?)/.exec(text);
  if (!match) return text;
  return parseFloat(match[1].replaceAll(",", "")) * ({ k: 1024, M: 1048576 }[match[2]] || 1);
};
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th").forEach((head, column) =>
    head.addEventListener("click", () => {
      const up = head.dataset.order !== "up";
      table.querySelectorAll("th").forEach((other) => delete other.dataset.order);
      head.dataset.order = up ? "up" : "down";
      const key = (row) => sortKey(row.cells[column].textContent);
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        const order = typeof x === typeof y ? (x > y) - (x < y) : typeof x === "number" ? -1 : 1;
        return up ? order : -order;
      });
      table.tBodies[0].append(...rows);
    }));
}

// ---- where trajectories come from: this file, or the local server page by page
const PAGE = 100;
const embedded = {
  async list(query) {
    const words = query.words.toLowerCase();
    const rows = data.items.map((item, at) => ({ ...item, at })).filter((item) =>
      (!query.outcome || item.outcome === query.outcome) &&
      (!query.series || item.series === query.series) &&
      (!query.score || (query.score === "right" ? item.score >= 1 : !(item.score >= 1))) &&
      (!words || JSON.stringify(textsOf(item)).toLowerCase().includes(words)));
    return { rows: rows.slice(query.page * PAGE, (query.page + 1) * PAGE), total: rows.length };
  },
  async get(at) { return { item: data.items[at], texts: data.texts }; },
  choices: (name) => [...new Set((data.items || []).map((item) => item[name]))].sort(),
};
const textsOf = (item) => {
  const found = [item.sample, item.series, item.outcome, item.failure];
  const add = (number) => { if (number !== null) found.push(data.texts[number]); };
  [item.question, item.target, item.answer].forEach(add);
  item.calls.forEach((call) => add(call.reply));
  item.steps.forEach((step) => { add(step.code); add(step.stdout); });
  return found;
};
const fetched = {
  async list(query) { return ask("list", query); },
  async get(at) { return ask("trajectory", { at }); },
  choices: (name) => data.choices[name],
};
const ask = async (what, query) => {
  const answer = await fetch(`${what}?${new URLSearchParams({ ...query, key: data.key })}`);
  if (!answer.ok) throw new Error(`${what}: ${answer.status}`);
  return answer.json();
};
const source = data.source === "server" ? fetched : embedded;

// ---- the viewer
const WORDS = new Set(("False None True and as assert async await break class continue def del elif else " +
  "except finally for from global if import in is lambda nonlocal not or pass raise return try while with " +
  "yield print len range").split(" "));
const TOKEN = /("""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(#[^\n]*)|([A-Za-z_]\w*)|(\d[\d_.]*)/g;
const python = (code) => {
  const block = make("pre", { class: "code" });
  let last = 0;
  for (const match of code.matchAll(TOKEN)) {
    const kind = match[1] ? "s" : match[2] ? "c" : match[4] ? "n" : WORDS.has(match[3]) ? "k" : null;
    if (!kind) continue;
    block.append(code.slice(last, match.index), make("span", { class: kind }, match[0]));
    last = match.index + match[0].length;
  }
  block.append(code.slice(last));
  return block;
};
const reader = (texts) => (number) => {
  if (number === null || number === undefined) return "";
  const text = texts[number];
  if (typeof text === "string") return text;
  const why = text.protected ? "protected, not shown" : "not in this file; see rlm-eval view";
  return `${text.head}[… ${text.chars} characters, ${text.hash}: ${why}]`;
};
const sliceText = (item, read, start, end) => {
  for (const [from, to, number] of item.read) {
    if (from <= start && end <= to && number !== null) {
      return read(number).slice(start - from, end - from);
    }
  }
  const words = `[${end - start} characters of the context]`;
  if (data.source !== "server" || !data.contexts) return words.replace("]", ": text not at hand]");
  const show = async (event) => {
    const { text } = await ask("context", { at: item.at, start, end });
    event.target.replaceWith(text);
  };
  return make("button", { onclick: show }, words);
};
const STRETCH = 20000;
const contextView = (item) => {
  if (data.source !== "server" || !data.contexts) return null;
  const block = make("pre");
  const place = make("span", { class: "note" });
  let start = 0;
  const move = (to) => async () => {
    start = Math.max(0, Math.min(to(), item.context.chars - 1));
    const { text } = await ask("context", { at: item.at, start, end: start + STRETCH });
    place.textContent = ` from ${start} of ${item.context.chars}`;
    block.textContent = text;
  };
  const jump = make("input", { type: "number", min: 0, value: 0 });
  return make("details", { ontoggle: move(() => start) }, make("summary", {}, "whole context"),
    make("button", { onclick: move(() => start - STRETCH) }, "‹"),
    make("button", { onclick: move(() => start + STRETCH) }, "›"), jump,
    make("button", { onclick: move(() => Number(jump.value)) }, "go"), place, block);
};
const promptView = (item, call, read) => make("details", {}, make("summary", {}, "prompt"),
  ...call.prompt.map(([role, parts]) => make("div", {}, make("span", { class: "head" }, role),
    make("pre", {}, ...parts.map((part) => Array.isArray(part)
      ? make("span", { class: "slice" },
        make("span", { class: "place" }, `⟦context ${part[0]}–${part[1]}⟧ `),
        sliceText(item, read, part[0], part[1]))
      : read(part))))));
const slices = (call) => call.prompt.flatMap(([, parts]) => parts.filter(Array.isArray));
const mapView = (item) => {
  const whole = item.context.chars || 1;
  const mark = (start, end, name, call) => make("i", {
    class: name, style: `left:${100 * start / whole}%;width:${100 * (end - start) / whole}%`,
    "data-call": call, title: `${name} ${start}–${end}`,
  });
  return make("div", { class: "map", title: "the context: what models were shown, and the evidence" },
    ...item.calls.flatMap((call) => slices(call).map(([s, e]) => mark(s, e, call.role, call.id))),
    ...item.evidence.map(([s, e]) => mark(s, e, "gold")));
};
const timeView = (item) => {
  const end = Math.max(item.wall || 0, ...item.calls.map((call) => call.times[2])) || 1;
  const depths = [...new Set(item.calls.map((call) => call.depth))].sort();
  return make("div", {}, ...depths.map((depth) => make("div", { class: "time", title: `depth ${depth}` },
    ...item.calls.filter((call) => call.depth === depth).map((call) => make("i", {
      class: call.role, title: `call ${call.id}, ${(call.times[2] - call.times[1]).toFixed(2)} s`,
      style: `left:${100 * call.times[1] / end}%;width:${100 * (call.times[2] - call.times[1]) / end}%`,
      onclick: () => document.getElementById(`call-${call.id}`)?.scrollIntoView({ block: "center" }),
    })))));
};
const money = (cost) => cost === null ? "cost unknown" : `${cost.toPrecision(3)} USD`;
const light = (id, on) => document.querySelectorAll(`.map i[data-call="${id}"]`)
  .forEach((mark) => mark.classList.toggle("lit", on));
const callView = (item, call, read) => {
  const [input, cached, output] = call.usage.map((count) => count === null ? "?" : count);
  const seconds = (call.times[2] - call.times[1]).toFixed(2);
  const children = item.calls.filter((other) => other.parent === call.id);
  const cut = ["length", "max_tokens"].includes(call.finish);
  return make("div", { class: `call ${call.role}`, id: `call-${call.id}`,
    onmouseenter: () => light(call.id, true), onmouseleave: () => light(call.id, false) },
  make("div", { class: "head" }, make("b", {}, `${call.role} · turn ${call.turn} · depth ${call.depth}`),
    ` · ${call.model} · ${input} in (${cached} cached), ${output} out · ${money(call.cost)} · ${seconds} s · `,
    make("span", cut ? { class: "bad" } : {}, call.finish || "failed"),
    call.replayed ? " · replayed" : ""),
  call.error === null ? null : make("pre", { class: "err" }, read(call.error)),
  promptView(item, call, read),
  call.reasoning === null ? null
    : make("details", {}, make("summary", {}, "reasoning"), make("pre", {}, read(call.reasoning))),
  make("pre", {}, read(call.reply)),
  ...item.steps.filter((step) => step.call === call.id).map((step) => make("div", {},
    make("div", { class: "head" }, `ran in ${step.seconds.toFixed(2)} s`,
      step.error ? make("span", { class: "bad" }, ` ${step.error}`) : null),
    python(read(step.code)),
    step.stdout_chars ? make("pre", { class: "out" }, read(step.stdout)) : null,
    read(step.stderr) ? make("pre", { class: "err" }, read(step.stderr)) : null)),
  children.length > 3
    ? make("details", {}, make("summary", {}, `${children.length} sub-calls`),
      ...children.map((child) => callView(item, child, read)))
    : make("div", {}, ...children.map((child) => callView(item, child, read))));
};
const detailView = ({ item, texts }) => {
  const read = reader(texts);
  const roots = item.calls.filter((call) => !item.calls.some((other) => other.id === call.parent));
  return make("div", { class: "detail" },
    make("div", { class: "head" }, make("b", {}, `${item.series} · ${item.task_label} · ${size(item.length)}`),
      ` · sample ${item.index} (${item.sample}) · epoch ${item.epoch} · ${item.outcome} · score `,
      make("b", {}, item.score === null ? "none" : String(item.score)),
      ` · ${item.wall.toFixed(1)} s · `,
      money(item.cost_cold)),
    make("p", {}, make("b", {}, "question "), read(item.question)),
    make("p", {}, make("b", {}, "gold "), read(item.target)),
    make("p", {}, make("b", {}, "answer "), item.answer === null ? "none" : read(item.answer),
      ` (${item.provenance})`),
    item.error === null ? null : make("pre", { class: "err" }, read(item.error)),
    make("div", { class: "head" }, `context, ${item.context.chars} characters; black: evidence`),
    mapView(item),
    contextView(item),
    make("div", { class: "head" }, "calls over time, one row per depth"),
    timeView(item),
    ...roots.map((call) => callView(item, call, read)));
};
const viewer = document.getElementById("viewer");
if (viewer && (data.source === "server" || data.items.length)) {
  const query = { words: "", outcome: "", series: "", score: "", page: 0 };
  const list = make("tbody");
  const count = make("span", { class: "note", id: "count" });
  const detail = make("div");
  let opened = 0;
  const open = async (row, at) => {
    const mine = ++opened;
    list.querySelectorAll("tr").forEach((other) => other.classList.toggle("on", other === row));
    const found = await source.get(at);
    if (mine === opened) detail.replaceChildren(detailView(found));
  };
  let asked = 0; // answers may overtake each other: only the last question's counts
  const show = async () => {
    const mine = ++asked;
    const { rows, total } = await source.list(query);
    if (mine !== asked) return;
    const pages = Math.max(1, Math.ceil(total / PAGE));
    count.textContent = `${total} trajectories, page ${query.page + 1} of ${pages}`;
    list.replaceChildren(...rows.map((item) => {
      const row = make("tr", { onclick: () => open(row, item.at) },
        ...[item.task_label, size(item.length), item.series, item.index, item.outcome,
          item.score === null ? "none" : item.score, item.failure || ""]
          .map((value) => make("td", {}, String(value))));
      return row;
    }));
  };
  const change = (name) => (event) => { query[name] = event.target.value; query.page = 0; show(); };
  const choose = (name, label, values) => make("select", { id: `by-${name}`, onchange: change(name) },
    make("option", { value: "" }, label), ...values.map((value) => make("option", { value }, value)));
  const turn = (by) => () => { query.page = Math.max(0, query.page + by); show(); };
  viewer.append(
    make("div", { class: "filters" },
      choose("outcome", "every outcome", source.choices("outcome")),
      choose("series", "every method", source.choices("series")),
      choose("score", "right and wrong", ["right", "wrong"]),
      make("input", { id: "by-words", placeholder: "search in questions, replies, code", onchange: change("words") }),
      make("button", { onclick: turn(-1) }, "‹"), make("button", { onclick: turn(1) }, "›"), count),
    make("div", { class: "items" }, make("table", {}, list)), detail);
  show();
}
