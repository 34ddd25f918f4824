// One trajectory: why it scored what it did, its context, its calls over time, every call.
const digits = (value) => value === null ? "none" : Number(value.toPrecision(3)).toString();
const score3 = (value) => value === null ? "none" : value.toFixed(3);
const money = (cost) => cost === null ? "unknown" : cost === 0 ? "0" : cost.toPrecision(3);
const seconds = (value) => value === null ? "unknown" : value < 100 ? value.toFixed(2) : value.toFixed(0);
const grade = (row) => row.outcome === "running" ? "running" : row.score === null ? "missing"
  : row.score >= 1 ? "right" : row.score > 0 ? "partly" : "wrong";
const meaning = (kind, name) => (data.words[kind] || {})[name] || "";
const slicesOf = (call) => call.prompt.flatMap(([, parts]) => parts.filter(Array.isArray));
const sees = (item, call) => slicesOf(call).some(([start, end]) =>
  item.evidence.some(([from, to]) => start <= from && to <= end));
const isCut = (call) => ["length", "max_tokens"].includes(call.finish);
const duration = (call) => call.times[2] === null ? null : call.times[2] - call.times[1];
const Context = preact.createContext(null); // { go, state, side, live }

const Legend = () => h("p", { class: "legend", "aria-label": "Legend of colours" },
  [["root", "root call"], ["sub", "sub-call"], ["child_root", "call of a child RLM"], ["judge", "judge, embedding, other"],
    ["gold", "evidence in the context"], ["slice", "text of the context"]]
    .map(([name, told]) => h("span", {}, h("i", { class: `swatch ${name}` }), told)),
  [["right", "score 1"], ["partly", "in between"], ["wrong", "score 0"], ["missing", "no score"], ["running", "running"]]
    .map(([name, told]) => h("span", {}, h("i", { class: `swatch ${name}` }), told)),
  [["k", "keyword"], ["s", "string"], ["n", "number"], ["c", "comment"]].map(([name, told]) => h("span", { class: name }, told)));

const CallLinks = ({ calls, go }) => calls.slice(0, 12).map((call) =>
  [" ", h("a", { href: "#", onClick: (event) => { event.preventDefault(); go({ call: String(call.id), step: "" }); } }, `call ${call.id}`)])
  .concat(calls.length > 12 ? ` and ${calls.length - 12} more` : []);

// The reasons that its own calls show, for a reader who asks why a sample failed.
const Why = ({ row, item, texts, go }) => {
  const read = reader(texts);
  const gold = read(item.target);
  const failed = item.calls.filter((call) => call.error !== null);
  const cut = item.calls.filter(isCut);
  const seen = item.calls.filter((call) => sees(item, call));
  const broken = item.steps.filter((step) => step.error);
  const line = (title, ...told) => h("li", {}, h("b", {}, title), " ", ...told);
  return h("section", { class: `why ${grade(row)}` },
    h("h3", {}, row.outcome === "running" ? "Running" : row.score >= 1 ? "Why it scored 1" : row.score === null ? "Why it has no score" : `Why it scored ${score3(row.score)}`),
    h("ul", {},
      line(`outcome ${row.outcome}:`, meaning("outcomes", row.outcome)),
      row.failure ? line(`failure ${row.failure}:`, meaning("failures", row.failure)) : null,
      item.error === null ? null : line("error:", h("span", { class: "bad" }, read(item.error))),
      item.evidence.length && !item.note ? line("evidence:", seen.length
        ? [`shown whole to ${seen.length} of ${item.calls.length} calls:`, h(CallLinks, { calls: seen, go })]
        : "no call was shown a whole span of it") : null,
      cut.length ? line("cut at the output cap:", h(CallLinks, { calls: cut, go })) : null,
      failed.length ? line("failed calls:", h(CallLinks, { calls: failed, go })) : null,
      broken.length ? line("code that raised:", h(CallLinks, { calls: item.calls.filter((c) => broken.some((s) => s.call === c.id)), go })) : null),
    h("div", { class: "scroll" }, h("table", { class: "readings" },
      h("thead", {}, h("tr", {}, ["scorer", "score", "reading of the answer", "gold"].map((name) => h("th", {}, name)))),
      h("tbody", {}, item.scores.length ? item.scores.map(([scorer, value, parsed, flag], at) => h("tr", {},
        h("td", {}, scorer), h("td", {}, score3(value), flag ? h("span", { class: "bad" }, ` ${flag}`) : null),
        h("td", {}, parsed === null ? h("i", {}, "not readable") : h("code", {}, read(parsed))),
        at === 0 ? h("td", { rowspan: item.scores.length }, h("code", {}, gold)) : null))
        : h("tr", {}, h("td", { colspan: 3 }, "not scored"), h("td", {}, h("code", {}, gold)))))),
    h("p", {}, h("b", {}, "question "), read(item.question)),
    h("p", {}, h("b", {}, "answer "), item.answer === null ? h("i", {}, "no answer") : read(item.answer), ` (${item.provenance})`));
};

const light = (event, on) => event.currentTarget.closest(".side").querySelectorAll(`.map i[data-call="${event.currentTarget.dataset.call}"]`)
  .forEach((mark) => mark.classList.toggle("lit", on));
const ContextMap = ({ item, go }) => {
  const whole = item.context.chars || 1;
  const mark = (start, end, name, call) => h("i", {
    class: name, style: `left:${100 * start / whole}%;width:${100 * (end - start) / whole}%`,
    "data-call": call, title: `${name === "gold" ? "evidence" : `call ${call}`} ${start}–${end}`,
    onClick: call === undefined ? null : () => go({ call: String(call), step: "" }),
  });
  return h("div", { class: "map", title: "the context: what models were shown, and the evidence" },
    item.calls.flatMap((call) => slicesOf(call).map(([s, e]) => mark(s, e, call.role, call.id))),
    item.evidence.map(([s, e]) => mark(s, e, "gold")));
};
const Timeline = ({ item, go }) => {
  const end = Math.max(item.wall || 0, ...item.calls.map((call) => call.times[2] || 0)) || 1;
  const depths = [...new Set(item.calls.map((call) => call.depth))].sort();
  return depths.map((depth) => h("div", { class: "time", title: `depth ${depth}` },
    item.calls.filter((call) => call.depth === depth && call.times[2] !== null).map((call) => h("i", {
      class: call.role, title: `call ${call.id}, ${duration(call).toFixed(2)} s`,
      style: `left:${100 * call.times[1] / end}%;width:${100 * duration(call) / end}%`,
      onClick: () => go({ call: String(call.id), step: "" }),
    }))));
};

const Step = ({ step, name, texts, isAimed, link }) => {
  const read = reader(texts);
  return h("div", { id: name, class: isAimed ? "step aimed" : "step" },
    h("div", { class: "head" }, link, step.seconds === null ? "time unknown" : `ran in ${step.seconds.toFixed(2)} s`,
      step.error ? h("span", { class: "bad" }, ` ${step.error}`) : null),
    h(Python, { code: read(step.code) }),
    step.stdout_chars ? h("pre", { class: "out" }, read(step.stdout)) : null,
    read(step.stderr) ? h("pre", { class: "err" }, read(step.stderr)) : null);
};
const CallView = ({ item, call, texts, tree, aim }) => {
  const { go, side, state } = preactHooks.useContext(Context);
  const read = reader(texts);
  const [input, cached, output] = call.usage.map((count) => count === null ? "?" : count);
  const children = tree.of.get(call.id) || [];
  const aimed = aim.call === String(call.id);
  const link = (label, places) => h("a", {
    class: "link", title: "address of this place", href: side === "a" ? writeState({ ...state, ...places }) : "#",
    onClick: (event) => { event.preventDefault(); if (side === "a") go(places); },
  }, label);
  const below = () => children.map((child) => h(CallView, { key: child.id, item, call: child, texts, tree, aim }));
  return h("div", { class: `call ${call.role}${aimed ? " aimed" : ""}`, id: `call-${side}-${call.id}`, "data-call": call.id,
    onMouseEnter: (event) => light(event, true), onMouseLeave: (event) => light(event, false) },
  h("div", { class: "head" }, link(`#${call.id}`, { call: String(call.id), step: "" }),
    h("b", {}, ` ${call.role} · turn ${call.turn} · depth ${call.depth}`),
    ` · ${call.model} · ${input} in (${cached} cached), ${output} out · ${call.cost === null ? "cost unknown" : `${money(call.cost)} USD`} · ${seconds(duration(call))} s · `,
    h("span", isCut(call) ? { class: "bad" } : {}, call.finish || (call.error === null ? "end unknown" : "failed")),
    call.replayed ? " · replayed" : "", sees(item, call) ? h("span", { class: "mark" }, "sees the evidence") : null),
  call.error === null ? null : h("pre", { class: "err" }, read(call.error)),
  h(Fold, { title: "prompt" }, () => h(Prompt, { item, call, texts })),
  call.reasoning === null ? null : h(Fold, { title: "reasoning" }, () => h("pre", {}, read(call.reasoning))),
  h("pre", { class: "reply" }, read(call.reply)),
  item.steps.filter((step) => step.call === call.id).map((step, at) => h(Step, {
    step, texts, name: `step-${side}-${call.id}-${at}`, isAimed: aimed && aim.step === String(at),
    link: link(`block ${at} `, { call: String(call.id), step: String(at) }),
  })),
  children.length > 3
    ? h(Fold, { title: `${children.length} sub-calls`, open: children.some((child) => aim.path.has(child.id)) }, below)
    : below());
};
const treeOf = (item) => {
  const ids = new Set(item.calls.map((call) => call.id));
  const of = new Map();
  const roots = [];
  for (const call of item.calls) {
    if (!ids.has(call.parent)) roots.push(call);
    else of.set(call.parent, [...(of.get(call.parent) || []), call]);
  }
  return { of, roots, parent: new Map(item.calls.map((call) => [call.id, call.parent])) };
};
const pathTo = (tree, id) => {
  const path = new Set();
  for (let at = Number(id); id !== "" && tree.parent.has(at) && !path.has(at); at = tree.parent.get(at)) path.add(at);
  return path;
};

// The same sample by every other method, run and repeat.
const Others = ({ row, others }) => {
  const { go, side, state } = preactHooks.useContext(Context);
  if (others.length < 2) return null;
  const runs = new Set(others.map((other) => other.run)).size > 1;
  const open = (other) => go(side === "a" ? { sample: other.key, call: "", step: "" } : { beside: other.key });
  return h("div", { class: "others", "aria-label": "The same sample by other methods" }, "same sample: ",
    others.map((other) => h("span", { class: `chip ${grade(other)}${other.key === row.key ? " on" : ""}` },
      h("button", { class: "open", onClick: () => open(other), title: "open" },
        `${other.method}${runs ? ` · ${other.run}` : ""}${other.epoch ? ` · repeat ${other.epoch}` : ""} ${score3(other.score)}`),
      side === "a" && other.key !== row.key
        ? h("button", { class: "beside", title: "open beside", onClick: () => go({ beside: state.beside === other.key ? "" : other.key }) }, "⇆") : null)));
};
const Facts = ({ row }) => h("div", { class: "head" },
  h("b", {}, `${row.method} · ${row.task} · ${row.length}`),
  ` · ${row.model} · sample ${row.index} (${row.sample}) · epoch ${row.epoch} · ${row.outcome} · score `,
  h("b", {}, score3(row.score)), ` · ${seconds(row.seconds)} s · `,
  row.cost === null ? "cost unknown" : `${money(row.cost)} USD`, ` · ${row.calls === null ? "unknown" : row.calls} calls · run ${row.run}`);
const Absent = ({ row, error }) => h("div", {},
  row.failure ? h("p", {}, h("b", {}, `failure ${row.failure}: `), meaning("failures", row.failure)) : null,
  h("p", {}, h("b", {}, `outcome ${row.outcome}: `), meaning("outcomes", row.outcome)),
  error === "absent"
    ? h("p", { class: "note" }, "The text of this trajectory is not in this file. ", h("code", {}, `rlm-eval view ${row.run}`),
      ` shows ${data.published.includes(row.run) ? "the answers that were published" : "it"}: put what follows # in this page's address behind the viewer's address.`)
    : h("p", { class: "err" }, error));

const Side = ({ row, others, aim, side, go, state, version }) => {
  const [found, setFound] = useState(null);
  const box = useRef();
  const fresh = row.outcome === "running" ? version : 0;
  useEffect(() => {
    let asked = true; // answers may overtake each other: only the last one counts
    fetchTrajectory(row).then((made) => asked && setFound({ key: row.key, ...made }),
      (error) => asked && setFound({ key: row.key, error: error.message }));
    return () => { asked = false; };
  }, [row.key, row.outcome, fresh]);
  const now = found && found.key === row.key ? found : null;
  const tree = useMemo(() => now && now.item ? treeOf(now.item) : null, [now]);
  const path = useMemo(() => tree ? pathTo(tree, aim.call) : new Set(), [tree, aim.call]);
  useEffect(() => {
    if (!tree || !aim.call) return;
    const name = aim.step ? `step-${side}-${aim.call}-${aim.step}` : `call-${side}-${aim.call}`;
    const show = () => document.getElementById(name)?.scrollIntoView({ block: "start" });
    show();
    setTimeout(show); // once more, when the folds above it are open
  }, [tree, aim.call, aim.step]);
  const { item, texts } = now || {};
  return h(Context.Provider, { value: { go, side, state } }, h("article", { class: "side", ref: box },
    h("div", { class: "bar" }, h(Facts, { row }),
      h("button", { class: "close", title: "close", onClick: () => go(side === "a" ? { sample: "", call: "", step: "", beside: "" } : { beside: "" }) }, "×")),
    h(Others, { row, others }),
    now === null ? h("p", { class: "note" }, "reading …") : !item ? h(Absent, { row, error: now.error }) : [
      h(Why, { row, item, texts, go: side === "a" ? go : () => {} }),
    ].concat(item.note ? h("p", { class: "note" }, item.note) : [
      h("div", { class: "head" }, item.context.chars === null ? "context: size and text unknown"
        : `context, ${item.context.chars} characters: what calls were shown; black is evidence`),
      h(ContextMap, { item, go }),
      isServed && data.contexts && item.context.chars !== null
        ? h(Fold, { title: "whole context", key: `context ${row.key}` }, () => h(WholeContext, { item })) : null,
      h("div", { class: "head" }, "calls over time, one row per depth"),
      h(Timeline, { item, go }),
      h("div", { class: "calls", key: `calls ${row.key}` }, tree.roots.map((call) =>
        h(CallView, { key: call.id, item, call, texts, tree, aim: { ...aim, path } }))),
    ])));
};
