// The viewer: the table of scores, the list, up to two trajectories, keys, news of a running run.
const KEYS = [
  ["j, ↓ / k, ↑", "next, previous sample of the list"], ["Enter", "open it"], ["[ / ]", "previous, next page of the list"],
  ["n / p", "next, previous call"], ["o / O", "same sample: next, previous method or run"],
  ["b", "open the next one beside, or close it"], ["/", "search"], ["s", "to the table of scores"], ["x", "drop all filters"],
  ["Esc", "close what is open"], ["?", "this list"],
];
const Help = ({ close }) => h("div", { class: "overlay", role: "dialog", "aria-label": "Keys", onClick: close },
  h("div", { class: "sheet" }, h("h3", {}, "Keys"), h("dl", {}, KEYS.map(([key, told]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, told)])),
    h("p", { class: "note" }, "The address holds what is shown: copy it to show somebody a sample, a call or a filtered list."),
    h("h3", {}, "Colours"), h(Legend), h("button", { onClick: close }, "close")));
const Chosen = ({ state, go }) => {
  const told = CHOICES.filter((name) => state[name].length).map((name) => [name, state[name].join(" or ")])
    .concat([...RANGES, "words", "better"].filter((name) => state[name]).map((name) => [name, state[name]]));
  return told.map(([name, value]) => h("button", { class: "chosen", key: name, title: "drop this filter",
    onClick: () => go({ [name]: CHOICES.includes(name) ? [] : "", page: 0 }) },
  name === "better" ? `where ${value} is better ×` : `${name} ${value} ×`));
};
const Progress = ({ progress }) => {
  const running = progress.held > 0;
  return h("p", { class: "note", id: "progress" }, h("span", { class: running ? "dot live" : "dot" }),
    running ? `live: ${progress.done} of ${progress.cells} started cells finished, ${progress.held} running; looked at ${progress.at}`
      : `${progress.done} of ${progress.cells} cells finished; looked at ${progress.at}`);
};
const clock = () => new Date().toLocaleTimeString();
const useRows = () => {
  const [got, setGot] = useState(() => ({ rows: decode(data.rows), version: data.version, progress: { ...data, at: clock() } }));
  useEffect(() => {
    if (!isServed) return undefined;
    let since = data.version;
    let ended = false;
    const look = async () => {
      try {
        const news = document.hidden ? null : await ask("list", { since });
        if (news) {
          since = news.version;
          setGot((old) => ({ rows: news.rows ? decode(news.rows) : old.rows, version: since, progress: { ...news, at: clock() } }));
        }
      } catch (error) {
        setGot((old) => ({ ...old, progress: { ...old.progress, at: `${old.progress.at.replace(/ \(.*/, "")} (the viewer has ended)` } }));
      }
      if (!ended) setTimeout(look, 2000);
    };
    const first = setTimeout(look, 2000);
    return () => { ended = true; clearTimeout(first); };
  }, []);
  return got;
};
const useAddress = () => {
  const [state, setState] = useState(() => readState(isState(location.hash) ? location.hash : ""));
  useEffect(() => {
    const follow = () => {
      if (!isState(location.hash)) return;
      const now = readState(location.hash);
      setState(now);
      if (/[#&]c=/.test(location.hash)) { // a link of a table: write it out, and go to the list
        location.replace(writeState(now));
        document.getElementById("viewer").scrollIntoView();
      }
    };
    addEventListener("hashchange", follow);
    if (isState(location.hash)) { follow(); document.getElementById("viewer").scrollIntoView(); }
    return () => removeEventListener("hashchange", follow);
  }, []);
  const go = (change) => setState((old) => {
    const now = { ...old, ...change };
    const text = writeState(now);
    if (text !== location.hash) {
      const isPlace = PLACES.some((name) => old[name] !== now[name]); // the way back leads over these
      if (isPlace) location.hash = text; else location.replace(text);
    }
    return now;
  });
  return [state, go];
};
const useFound = (words) => {
  const [found, setFound] = useState({ words: "", keys: null });
  useEffect(() => {
    let asked = true;
    if (words) source.search(words).then((keys) => asked && setFound({ words, keys }), () => {});
    return () => { asked = false; };
  }, [words]);
  return words && found.words === words ? found.keys : null;
};
const typing = (event) => /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
const App = () => {
  const { rows, version, progress } = useRows();
  const [state, go] = useAddress();
  const [cursor, setCursor] = useState(-1);
  const [isHelp, setHelp] = useState(false);
  const found = useFound(state.words);
  const filters = JSON.stringify([CHOICES, RANGES, ["words", "better", "sort"]].flat().map((name) => state[name]));
  const chosen = useMemo(() => select(rows, state, found), [rows, filters, found]);
  const choices = useMemo(() => choicesOf(rows), [rows]);
  const byKey = useMemo(() => new Map(rows.map((row) => [row.key, row])), [rows]);
  const bySame = useMemo(() => {
    const same = new Map();
    for (const row of rows) { if (same.has(row.same)) same.get(row.same).push(row); else same.set(row.same, [row]); }
    return same;
  }, [rows]);
  const pages = Math.max(1, Math.ceil(chosen.length / PAGE));
  const page = Math.min(state.page, pages - 1);
  const shown = chosen.slice(page * PAGE, (page + 1) * PAGE);
  const columns = [["sample"], ...choices.run.length > 1 ? [["run"]] : [], ...COLUMNS];
  const row = byKey.get(state.sample);
  const beside = row && byKey.get(state.beside);
  const others = row ? bySame.get(row.same) : [];
  const detail = useRef();
  const wasOpen = useRef("");
  useEffect(() => {
    if (row && wasOpen.current !== row.key && !state.call) detail.current?.scrollIntoView({ block: "start" });
    wasOpen.current = row ? row.key : "";
  }, [row && row.key]);
  const open = (change, at) => { if (at !== undefined) setCursor(at); go(change); };
  useLayoutEffect(() => { // at once: the next key may come before the next picture
    const next = (list, now, by) => list[(list.indexOf(now) + by + list.length) % list.length];
    const press = (event) => {
      if (event.key === "Escape") {
        if (isHelp) setHelp(false);
        else if (typing(event)) event.target.blur();
        else go(state.beside ? { beside: "" } : { sample: "", call: "", step: "" });
        return;
      }
      if (typing(event) || event.ctrlKey || event.metaKey || event.altKey) return;
      const at = state.sample ? Math.max(cursor, shown.findIndex((one) => one.key === state.sample)) : cursor;
      const step = (by) => {
        const to = Math.min(shown.length - 1, Math.max(0, at + by));
        if (!shown.length) return;
        setCursor(to);
        if (row) go({ sample: shown[to].key, call: "", step: "", beside: "" });
        else document.getElementById(`row-${to}`)?.scrollIntoView({ block: "nearest" });
      };
      const calls = row && kept.has(row.key) ? kept.get(row.key).item.calls.map((call) => String(call.id)) : [];
      const turn = (by) => calls.length && go({ call: state.call ? next(calls, state.call, by) : calls.at(by < 0 ? -1 : 0), step: "" });
      const act = {
        "?": () => setHelp(!isHelp), j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
        Enter: () => shown[at] && go({ sample: shown[at].key, call: "", step: "", beside: "" }),
        "[": () => go({ page: Math.max(0, page - 1) }), "]": () => go({ page: Math.min(pages - 1, page + 1) }),
        n: () => turn(1), p: () => turn(-1),
        o: () => row && go({ sample: next(others, row, 1).key, call: "", step: "", beside: "" }),
        O: () => row && go({ sample: next(others, row, -1).key, call: "", step: "", beside: "" }),
        b: () => row && go({ beside: state.beside || others.length < 2 ? "" : next(others, row, 1).key }),
        "/": () => document.getElementById("by-words").focus(),
        s: () => (document.getElementById("score-table") || document.getElementById("scores"))?.scrollIntoView(),
        x: () => go(EMPTY),
      }[event.key];
      const focus = document.activeElement;
      const isFree = focus === document.body || focus === null;
      // A report's page keeps its own keys until the list is used; arrows and Enter keep their meaning outside it.
      const isOurs = isServed || row || focus?.closest("#viewer") || ["?", "/", "s"].includes(event.key);
      const inList = focus?.closest(".items") && !["A", "BUTTON"].includes(focus.tagName);
      const isArrow = event.key.startsWith("Arrow") || event.key === "Enter";
      if (!act || !isOurs || (isArrow && !inList && !(isServed && isFree && !row))) return;
      event.preventDefault();
      act();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
  const side = (of, name) => h(Side, { key: name, row: of, others, side: name, go, state, version,
    aim: name === "a" ? { call: state.call, step: state.step } : { call: "", step: "" } });
  return [
    isServed && progress.cells ? h(Progress, { progress }) : null, // a published folder has no cells
    isServed ? h(Scores, { rows, go }) : null,
    h("div", { class: "filters" },
      h("input", { id: "by-words", type: "search", value: state.words, placeholder: "search in questions, replies, code, output",
        "aria-label": "search", onChange: (event) => go({ words: event.currentTarget.value, page: 0 }) }),
      h(Chosen, { state, go }),
      h("span", { class: "pager" }, h("button", { onClick: () => go({ page: Math.max(0, page - 1) }), title: "previous page" }, "‹"),
        h("button", { onClick: () => go({ page: Math.min(pages - 1, page + 1) }), title: "next page" }, "›"),
        h("span", { class: "note", id: "count" }, `${chosen.length} samples, page ${page + 1} of ${pages}`),
        h("button", { onClick: () => setHelp(true), title: "keys and colours" }, "?"))),
    h(List, { rows: shown, columns, state, go: open, choices, cursor }),
    h("div", { ref: detail, id: "detail", class: beside ? "two" : "one" }, row ? h(Legend) : null, row ? side(row, "a") : state.sample
      ? h("p", { class: "bad" }, `No sample ${state.sample} here.`) : null, beside ? side(beside, "b") : null),
    isHelp ? h(Help, { close: () => setHelp(false) }) : null,
  ];
};
if (document.getElementById("viewer") && data.rows) render(h(App), document.getElementById("viewer"));
